"""What the page shows equals what the server says, for a small model, a large one, and none."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from engram_server import EngramServer
from page import Page, in_percent, number, shows
from teacher import Teacher, teach_two_tasks

BIRDS = ("owl", "wren")
NewTeacher = Callable[..., Teacher]


def test_without_a_model_it_says_how_to_make_one(page: Page) -> None:
    page.open()
    page.until(lambda: "engram model create" in page.text("#notice"))
    assert not page.one("#content").is_displayed()


def test_its_numbers_are_the_reports(page: Page, new_teacher: NewTeacher) -> None:
    teacher = new_teacher("numbers")
    teach_two_tasks(teacher)
    report = teacher.report()
    page.open("numbers")
    page.until(lambda: len(page.table("#matrix")) == 1 + len(report.rows) + 1)

    matrix = page.table("#matrix")
    assert matrix[0][1:] == [task.task for task in report.tasks]
    for shown, row in zip(matrix[1:-1], report.rows, strict=True):
        assert shown[0] == row.ended_task
        for column, text in enumerate(shown[1:]):  # a row has the columns of its time
            cell = row.cells[column] if column < len(row.cells) else None
            assert shows(text, cell, "accuracy")
    for text, task in zip(matrix[-1][1:], report.tasks, strict=True):
        assert shows(text, task, "accuracy")

    for name in ("acc", "forgetting", "bwt"):
        assert number(page.text(f"#tile-{name} b")) == in_percent(getattr(report.summary, name))
    prequential = number(page.text("#tile-prequential b"))
    assert prequential == in_percent(report.prequential_accuracy)

    for shown, task in zip(page.table("#tasks")[1:], report.tasks, strict=True):
        assert shown[0] == task.task
        assert shows(shown[1], task, "accuracy")
        assert shows(shown[2], task, "best_accuracy")
        assert shows(shown[3], task, "forgetting")
        assert [number(text) for text in shown[4:]] == [
            task.train_examples,
            task.held_out_rows,
            task.exemplars,
        ]
    held = sum(task.exemplars for task in report.tasks)
    assert held > 0
    assert page.text("#memory-now").startswith(f"{held} exemplars of {len(report.classes)} classes")
    assert number(page.fact("Version")) == report.model_version
    assert page.fact("Strategy") == "experience_replay"

    kept = teacher.checkpoints()
    assert [row[0] for row in page.table("#checkpoints")[1:]] == [c.label or c.id for c in kept]
    page.keep_picture("two_tasks")


def test_the_reading_within_the_task_is_the_reports(page: Page, new_teacher: NewTeacher) -> None:
    teacher = new_teacher("reading")
    teach_two_tasks(teacher)
    report = teacher.report()
    page.open("reading")
    page.until(lambda: page.table("#matrix"))
    page.one("input[value=task]").click()
    assert number(page.text("#tile-acc b")) == in_percent(report.task_summary.acc)
    shown = page.table("#matrix")[1:]
    assert len(shown) == len(report.rows)
    for texts, row in zip(shown, report.rows, strict=True):
        for text, cell in zip(texts[1:], row.cells, strict=False):
            assert shows(text, cell, "task_accuracy")


def test_it_follows_the_stream(page: Page, new_teacher: NewTeacher) -> None:
    teacher = new_teacher("stream")
    teach_two_tasks(teacher)
    page.open("stream")
    page.until(lambda: len(page.table("#matrix")) == 4)
    teacher.learn(BIRDS, rows=120, held_out=20)
    teacher.end_task()
    page.until(lambda: re.search("ingest [1-9].* training [1-9]", page.text("#rates-now")))
    page.until(lambda: "Task birds ended." in page.text("#announcer"))
    report = teacher.report()
    page.until(lambda: len(page.table("#matrix")) == 5)
    assert number(page.table("#matrix")[3][3]) == in_percent(report.rows[2].cells[2].accuracy)
    assert "Task birds ended." in page.text("#events")
    page.until(lambda: number(page.fact("Version")) == report.model_version)
    appended = page.until(lambda: [r for r in page.table("#latencies") if "Append" in r[0]])
    assert number(appended[0][4]) > 0 and appended[0][1] != "–"
    assert "birds" in (page.one("#accuracy").get_attribute("aria-label") or "")


def quantile(share: float, exposition: str, family: str, model: str) -> float:
    """Prometheus' histogram_quantile over everything since the server's start."""
    pattern = rf'^{family}_bucket{{model="{model}",le="([^"]+)"}} (\d+)'
    buckets = [(float(le), int(n)) for le, n in re.findall(pattern, exposition, re.MULTILINE)]
    rank = share * buckets[-1][1]
    low, below = 0.0, 0
    for bound, count in buckets:
        if count >= rank:
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    raise AssertionError(f"{family} of {model}: no buckets")


def in_seconds(text: str) -> float:
    value, unit = text.split()
    return float(value) * {"µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]


def test_its_percentiles_are_those_of_the_histograms(
    page: Page, shared_server: EngramServer, new_teacher: NewTeacher
) -> None:
    teach_two_tasks(new_teacher("percentiles"))
    exposition = shared_server.get("/metrics")[1]
    page.open("percentiles")
    page.until(lambda: len(page.table("#latencies")) == 5)
    shown = {row[0]: row[1:] for row in page.table("#latencies")[1:]}
    for name, family in (
        ("Append, to durable", "engram_ingest_append_seconds"),
        ("Training step", "engram_train_step_seconds"),
    ):
        assert shown[name][-1] == "since start"
        for text, share in zip(shown[name][:3], (0.5, 0.95, 0.99), strict=True):
            expected = quantile(share, exposition, family, "percentiles")
            assert in_seconds(text) == pytest.approx(expected, rel=0.01, abs=1e-6)
    assert shown["Prediction"][:3] == ["–"] * 3  # nobody asked


def test_it_bears_many_tasks_and_classes_with_hostile_names(
    page: Page, new_teacher: NewTeacher
) -> None:
    teacher = new_teacher("many", memory_size=3000)
    hostile = '<img src="/x" onerror="document.title=1"> \u202e'
    labels = [f"{hostile}{i}" for i in range(1000)]
    teacher.learn(labels, rows=2)
    # Columns come from held-out rows as well: 200 boundaries would take a minute.
    teacher.hold_out({f"task-of-a-long-name-{i}": labels[i] for i in range(160)})
    for _ in range(45):
        teacher.learn(labels[:2], rows=2)
        teacher.end_task()
    teacher.settle()
    columns = len(teacher.report().tasks)
    assert columns > 200
    page.open("many")
    page.until(lambda: page.fact("Tasks") == str(columns), within_seconds=60)
    page.until(lambda: number(page.fact("Classes")) == len(labels))
    assert len(page.table("#tasks")) == 1 + columns
    matrix = page.table("#matrix")
    assert (len(matrix), len(matrix[0])) == (1 + 40 + 1, 1 + 40)  # the newest, until asked for all
    page.one("#matrix-all").click()
    page.until(lambda: len(page.table("#matrix")) == 1 + 45 + 1)
    assert len(page.table("#matrix")[0]) == 1 + columns
    page.one("#memory-list summary").click()
    listed = page.all("#memory-list li")
    assert len(listed) == len(labels)
    assert hostile in listed[0].text
    assert not page.all("main img")
    assert page.script("return document.documentElement.scrollWidth") <= 1400
    page.keep_picture("many")


def test_it_is_small_and_quick(
    page: Page,
    shared_server: EngramServer,
    new_teacher: NewTeacher,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new_teacher("quick")
    paints: list[float] = []
    for _ in range(3):  # the best of three: the machine builds and tests beside this
        page.open("quick")
        paints.append(
            page.script(
                "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
            )
        )
    files: list[str] = page.script(
        "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)"
        ".filter(path => path.startsWith('/dashboard/'))"
    )
    assert "/dashboard/main.js" in files
    size = sum(len(shared_server.get(path)[1].encode()) for path in {"/", *files})
    with capsys.disabled():  # the figures are wanted of every run
        print(f"page: {size} bytes, {len(set(files)) + 1} files, first paint {min(paints):.0f} ms")
    assert size < 500_000
    assert min(paints) < 1000
