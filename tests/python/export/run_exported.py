"""Runs exported models in plain PyTorch: run_exported.py ROWS [FILE TASK LOGITS]...

FILE is what `engram checkpoint export` wrote, ROWS a .npy of float32 [rows, features]; the logits
for the task ("": one head) go to LOGITS, a .npy as well. Prints the labels of the columns, one JSON
array a file. A program of its own, run by the Python that has PyTorch: whoever takes a model
elsewhere has neither the server nor its client.
"""

import json
import struct
import sys

import numpy
import torch


def read_safetensors(path):
    """Tensors by name, and the metadata: a length, a header of JSON, then the values."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        body = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32", f"{name}: {entry['dtype']}"
        begin, end = entry["data_offsets"]
        values = numpy.frombuffer(body[begin:end], dtype="<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors, metadata


def network_of(tensors, head):
    """An nn.Sequential of Linear layers with ReLU between them, loaded by strict names."""
    hidden = sorted({name.split(".")[0] for name in tensors if name.startswith("hidden")})
    names = [f"hidden{i}" for i in range(len(hidden))] + [head]
    layers = []
    for name in names:
        outputs, inputs = tensors[f"{name}.weight"].shape
        layer = torch.nn.Linear(inputs, outputs)
        layer.load_state_dict({kind: tensors[f"{name}.{kind}"] for kind in ("weight", "bias")})
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def run(path, task, rows):
    """Logits, and the labels of their columns."""
    if path.endswith(".safetensors"):
        tensors, metadata = read_safetensors(path)
        labels = json.loads(metadata["tasks"])[task] if task else json.loads(metadata["labels"])
        return network_of(tensors, f"head.{task}" if task else "head")(rows), labels
    extra = {"labels": ""}
    network = torch.jit.load(path, _extra_files=extra)
    return (network(rows, task) if task else network(rows)), json.loads(extra["labels"])


def main(rows_path, *jobs):
    rows = torch.from_numpy(numpy.load(rows_path))
    for path, task, logits_path in zip(jobs[0::3], jobs[1::3], jobs[2::3]):
        with torch.no_grad():
            logits, labels = run(path, task, rows)
        assert logits.shape == (len(rows), len(labels)), (path, task, logits.shape, labels)
        numpy.save(logits_path, logits.numpy())
        print(json.dumps(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
