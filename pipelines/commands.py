"""The commands that the stages add to `reg`, found by entry point; nothing is imported until one is called."""

from __future__ import annotations

from registry.cli import CommandTable

TABLE: CommandTable = {
    "dataset": ("pipelines.cli.dataset:dataset", "Push, pull, list, show and compare dataset versions."),
    "train": ("pipelines.cli.train:train", "Train a model on a dataset version."),
    "sweep": ("pipelines.cli.sweep:sweep", "Search hyper-parameters: many trainings, the best one's model under an alias."),
    "evaluate": ("pipelines.cli.evaluate:evaluate", "Score a model version with ONNX Runtime."),
    "gate": ("pipelines.cli.promote:gate", "Judge a model version against a policy; moves nothing."),
    "promote": ("pipelines.cli.promote:promote", "Move an alias to a model version, if the gate passes."),
    "exec": ("pipelines.cli.exec:execute", "Run any script as a stage: inputs, outputs, lineage."),
    "model": ("pipelines.cli.model:model", "Bring an ONNX model that was made elsewhere."),
    "doctor": ("pipelines.cli.doctor:doctor", "Check this machine, the home and the server."),
    "demo": ("pipelines.demo:demo", "See the whole life of a model, on real data, in two minutes."),
    "init": ("pipelines.starter:init", "Start a project: settings and a policy."),
}
