"""What the dashboard shows: rows of panels, forgetting first. make_dashboard.py draws them.

In a query SERVER and MODEL stand for the choices at the dashboard's head. Rates and quantiles are
taken over $__rate_interval, so that they follow the zoom, which recorded ones would not.
"""

from __future__ import annotations

from dataclasses import dataclass

_SERVER = 'instance=~"$instance"'
_MODEL = f'{_SERVER}, model=~"$model"'


@dataclass(frozen=True)
class Query:
    """PromQL and the legend of its series; a column's name in a table."""

    text: str
    legend: str = "{{model}}"

    @property
    def expr(self) -> str:
        return self.text.replace("MODEL", _MODEL).replace("SERVER", _SERVER)


@dataclass(frozen=True)
class Panel:
    """`unit` is Grafana's name of one; a `signed` axis may go below zero."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    signed: bool = False
    stacked: bool = False
    steps: bool = False  # drawn as steps: it changes at events, not between them
    log: bool = False
    bad_above: float | None = None
    bad_below: float | None = None


def _quantiles(histogram: str) -> tuple[Query, ...]:
    return tuple(
        Query(
            f"histogram_quantile({quantile}, sum by (model, le) "
            f"(rate({histogram}_bucket{{MODEL}}[$__rate_interval])))",
            f"{{{{model}}}} p{round(quantile * 100)}",
        )
        for quantile in (0.5, 0.99)
    )


def _rate(counter: str, by: str, legend: str, scope: str = "MODEL") -> Query:
    return Query(f"sum by ({by}) (rate({counter}{{{scope}}}[$__rate_interval]))", legend)


_FORGETTING = (
    Panel(
        "Accuracy (ACC)",
        "Mean accuracy over all tasks, on their held-out rows.",
        "percentunit",
        (Query("engram_average_accuracy_ratio{MODEL}"),),
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        "Forgetting",
        "Mean over earlier tasks of the best accuracy less the accuracy now. Red beyond the "
        "objective that engram_recording_rules.yml starts with.",
        "percentunit",
        (Query("engram_average_forgetting_ratio{MODEL}"),),
        kind="stat",
        width=6,
        height=4,
        signed=True,
        bad_above=0.3,
    ),
    Panel(
        "Backward transfer (BWT)",
        "How much earlier tasks changed since they were learned; below zero they were forgotten.",
        "percentunit",
        (Query("engram_backward_transfer_ratio{MODEL}"),),
        kind="stat",
        width=6,
        height=4,
        signed=True,
    ),
    Panel(
        "Forward transfer (FWT)",
        "How much better a task was before its own training than before any. Only for tasks whose "
        "held-out rows came first.",
        "percentunit",
        (Query("engram_forward_transfer_ratio{MODEL}"),),
        kind="stat",
        width=6,
        height=4,
        signed=True,
    ),
    Panel(
        "Forgetting by task",
        "Best accuracy before now, less the accuracy now. A rollback brings it back down.",
        "percentunit",
        (Query("engram_forgetting_ratio{MODEL}", "{{model}} {{task}}"),),
        width=12,
        height=9,
        signed=True,
        steps=True,
    ),
    Panel(
        "Accuracy by task",
        "On the task's held-out rows, at boundaries and between them.",
        "percentunit",
        (Query("engram_task_accuracy_ratio{MODEL}", "{{model}} {{task}}"),),
        width=12,
        height=9,
        steps=True,
    ),
    Panel(
        "ACC, BWT, FWT and forgetting",
        "The four summaries of the matrix of accuracies, and the objective of forgetting.",
        "percentunit",
        (
            Query("engram_average_accuracy_ratio{MODEL}", "{{model}} ACC"),
            Query("engram_backward_transfer_ratio{MODEL}", "{{model}} BWT"),
            Query("engram_forward_transfer_ratio{MODEL}", "{{model}} FWT"),
            Query("engram_average_forgetting_ratio{MODEL}", "{{model}} forgetting"),
            Query("engram:forgetting_objective:ratio{MODEL}", "{{model}} objective"),
        ),
        signed=True,
        steps=True,
    ),
    Panel(
        "Accuracy on the stream",
        "Prequential: each example is predicted before it is learned. It falls where the stream "
        "moves on, and should climb back.",
        "percentunit",
        (Query("engram_prequential_accuracy_ratio{MODEL}"),),
    ),
    Panel(
        "Tasks now",
        "The last 50 tasks of each model; `other` is the mean of those before.",
        "percentunit",
        (
            Query("engram_task_accuracy_ratio{MODEL}", "accuracy"),
            Query("engram_task_best_accuracy_ratio{MODEL}", "best"),
            Query("engram_forgetting_ratio{MODEL}", "forgetting"),
        ),
        kind="table",
    ),
)

_LEARNING = (
    Panel(
        "Examples sent",
        "By how they ended: accepted, duplicate (sent again, not learned again) or rejected.",
        "ops",
        (_rate("engram_ingest_examples_total", "model, result", "{{model}} {{result}}"),),
    ),
    Panel(
        "Time to an ack",
        "From submission to durable.",
        "s",
        _quantiles("engram_ingest_append_seconds"),
        log=True,
    ),
    Panel(
        "Lag",
        "Durable records that no published version has learned yet.",
        "short",
        (Query("engram_applied_lag_examples{MODEL}"),),
    ),
    Panel(
        "Examples learned",
        "By the model's trainer; less than what is accepted means that it falls behind.",
        "ops",
        (_rate("engram_train_examples_total", "model", "{{model}}"),),
    ),
    Panel(
        "Time of a training step",
        "One batch, with what its strategy adds.",
        "s",
        _quantiles("engram_train_step_seconds"),
        log=True,
    ),
    Panel(
        "Loss",
        "Of the last step, before its update.",
        "short",
        (Query("engram_train_loss{MODEL}"),),
    ),
    Panel(
        "Time behind",
        "How long the model needs, as fast as it trains, for what is durable already.",
        "s",
        (Query("model:engram_applied_lag:seconds{MODEL}"),),
    ),
    Panel(
        "Boundaries and tasks",
        "Boundaries since the server started, by who set them, and tasks in all.",
        "short",
        (
            Query("engram_tasks{MODEL}", "{{model}} tasks"),
            Query("engram_boundaries_total{MODEL}", "{{model}} boundaries by {{source}}"),
        ),
        steps=True,
    ),
    Panel(
        "Kept away from the weights",
        "Batches that the guard skipped, and examples set aside, by why.",
        "ops",
        (
            _rate("engram_train_skipped_batches_total", "model", "{{model}} batches skipped"),
            _rate("engram_quarantined_examples_total", "model, reason", "{{model}} {{reason}}"),
        ),
    ),
)

_PREDICTIONS = (
    Panel(
        "Predictions",
        "Calls, and the rows in them.",
        "ops",
        (
            _rate("engram_predict_seconds_count", "model", "{{model}} calls"),
            _rate("engram_predict_batch_size_sum", "model", "{{model}} rows"),
        ),
    ),
    Panel(
        "Time of a prediction",
        "Of a call, inside the server, and the objective for 99 of 100.",
        "s",
        (
            *_quantiles("engram_predict_seconds"),
            Query("engram:predict_objective:seconds{MODEL}", "{{model}} objective"),
        ),
        log=True,
    ),
    Panel(
        "Age of the served version",
        "Since the last publication. It grows while nothing is sent, which is no fault.",
        "s",
        (Query("time() - engram_model_published_timestamp_seconds{MODEL}"),),
    ),
)

_MEMORY = (
    Panel(
        "Episodic memory by task",
        "Exemplars kept to be replayed.",
        "short",
        (Query("engram_episodic_examples{MODEL}", "{{model}} {{task}}"),),
        stacked=True,
    ),
    Panel(
        "Episodic memory",
        "Bytes of the exemplars.",
        "bytes",
        (Query("engram_episodic_bytes{MODEL}"),),
    ),
    Panel(
        "Importance snapshots",
        "Consolidations in the penalty of EWC and its like.",
        "short",
        (Query("engram_importance_snapshots{MODEL}"),),
        steps=True,
    ),
    Panel(
        "Memory of the process",
        "In RAM, and messages on their way into the log.",
        "bytes",
        (
            Query("process_resident_memory_bytes{SERVER}", "{{instance}}"),
            Query("engram_in_flight_bytes{SERVER}", "{{instance}} in flight"),
        ),
    ),
    Panel(
        "Processor",
        "Cores in use.",
        "short",
        (_rate("process_cpu_seconds_total", "instance", "{{instance}}", "SERVER"),),
    ),
    Panel(
        "Open files and connections",
        "File descriptors, and connections of gRPC clients.",
        "short",
        (
            Query("process_open_fds{SERVER}", "{{instance}} files"),
            Query("engram_connections{SERVER}", "{{instance}} connections"),
        ),
    ),
)

_CHECKPOINTS = (
    Panel(
        "Checkpoints kept",
        "64 is the most.",
        "short",
        (Query("engram_checkpoints{MODEL}"),),
        steps=True,
    ),
    Panel(
        "A restart learns again",
        "Records since the newest checkpoint.",
        "short",
        (Query("model:engram_checkpoint_behind:examples{MODEL}"),),
    ),
    Panel(
        "Rollbacks and canaries",
        "Since the server started: rollbacks by who asked for them, and falls of a task that the "
        "guard saw.",
        "short",
        (
            Query("engram_rollbacks_total{MODEL}", "{{model}} {{trigger}}"),
            Query("engram_canary_drops_total{MODEL}", "{{model}} canaries"),
        ),
        steps=True,
    ),
    Panel(
        "Time of a checkpoint",
        "From saving to the committed row.",
        "s",
        _quantiles("engram_checkpoint_seconds"),
        log=True,
    ),
    Panel(
        "Size of the last checkpoint",
        "Its tensor file; exemplars are stored once, apart from it.",
        "bytes",
        (Query("engram_checkpoint_bytes{MODEL}"),),
        steps=True,
    ),
    Panel(
        "Recovery at the last start",
        "Seconds that it took, and examples that were replayed from the log.",
        "short",
        (
            Query("engram_recovery_seconds{MODEL}", "{{model}} seconds"),
            Query("engram_recovery_replayed_examples{MODEL}", "{{model}} examples"),
        ),
        steps=True,
    ),
)

_STORAGE = (
    Panel(
        "Disk",
        "Free on the disk of the data folder. Nothing is learned while less than the reserve is.",
        "bytes",
        (
            Query("engram_storage_free_bytes{SERVER}", "{{instance}} free"),
            Query("engram_storage_reserve_bytes{SERVER}", "{{instance}} reserve"),
        ),
    ),
    Panel(
        "Age of the newest backup",
        "The timer makes one a day.",
        "s",
        (Query("time() - engram_backup_newest_timestamp_seconds{SERVER}", "{{instance}}"),),
    ),
    Panel(
        "Health of store and models",
        "Anything but zero wants somebody: read-only, damaged files, and models that are locked by a "
        "loss, stopped on an error, or paused.",
        "short",
        (
            Query("engram_storage_read_only{SERVER}", "{{instance}} read-only"),
            Query("engram_storage_damaged_files_total{SERVER}", "{{instance}} damaged files"),
            Query("engram_ingest_locked{MODEL}", "{{model}} locked"),
            Query("engram_model_failed{MODEL}", "{{model}} failed"),
            Query("engram_model_paused{MODEL}", "{{model}} paused"),
        ),
        steps=True,
    ),
)

_ERRORS = (
    Panel(
        "Calls that fail",
        "By method and code. INTERNAL, DATA_LOSS and UNKNOWN are the server's; the rest is told to "
        "the caller with what to do.",
        "ops",
        (
            _rate(
                "engram_rpc_server_duration_seconds_count",
                "method, code",
                "{{method}} {{code}}",
                'SERVER, code!="OK"',
            ),
        ),
    ),
    Panel(
        "Share of faults",
        "Of all calls, those that the server is to blame for; and of the examples, those rejected.",
        "percentunit",
        (
            Query("instance:engram_rpc_faults:ratio5m{SERVER}", "{{instance}} faults"),
            Query("model:engram_ingest_rejected:ratio5m{MODEL}", "{{model}} rejected"),
        ),
    ),
    Panel(
        "Limits met",
        "Calls refused and streams held up, by the limit.",
        "ops",
        (_rate("engram_limit_met_total", "instance, limit", "{{instance}} {{limit}}", "SERVER"),),
    ),
    Panel(
        "Time of a call, by method",
        "99 of 100 are faster. Streams count from their first byte to their status.",
        "s",
        (
            Query(
                "histogram_quantile(0.99, sum by (method, le) "
                "(rate(engram_rpc_server_duration_seconds_bucket{SERVER}[$__rate_interval])))",
                "{{method}}",
            ),
        ),
        width=16,
        log=True,
    ),
    Panel(
        "Scrapes",
        "1 where the server answers Prometheus.",
        "short",
        (Query('up{SERVER, job="engram"}', "{{instance}}"),),
        steps=True,
    ),
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Forgetting", _FORGETTING),
    ("Learning", _LEARNING),
    ("Predictions", _PREDICTIONS),
    ("Memory", _MEMORY),
    ("Checkpoints and rollbacks", _CHECKPOINTS),
    ("Storage", _STORAGE),
    ("Errors", _ERRORS),
)

# Name, colour, query and the mark's title. A mark is wherever the query has a value; of a start, at
# that value.
ANNOTATIONS: tuple[tuple[str, str, str, str], ...] = tuple(
    (name, color, Query(text).expr, title)
    for name, color, text, title in (
        (
            "Boundaries",
            "blue",
            "sum by (instance, model) "
            "(increase(engram_boundaries_total{MODEL}[$__rate_interval])) > 0",
            "{{model}}: boundary",
        ),
        (
            "Rollbacks",
            "red",
            "sum by (instance, model, trigger) "
            "(increase(engram_rollbacks_total{MODEL}[$__rate_interval])) > 0",
            "{{model}}: rollback ({{trigger}})",
        ),
        (
            "Restarts",
            "orange",
            # In milliseconds, which is where the mark goes: a change would be missed where a start
            # takes longer than a few scrapes.
            '1000 * process_start_time_seconds{SERVER, job="engram"}',
            "{{instance}} started",
        ),
    )
)
