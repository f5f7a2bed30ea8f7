"""Reads params.yaml into one frozen, checked value.

Each section's dataclass lives beside the code that uses it.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field, fields
from pathlib import Path

from data.features.features import FeatureParams
from data.hours import HoursParams
from data.ingest import IngestParams
from data.labelling import LabellingParams
from data.labelling.complete import ReadingParams
from data.labelling.pseudo import PseudoParams
from data.params import ParamsError, read_yaml, section
from data.simulator import SimulatorParams
from data.sources import SourceParams
from data.speech.voices import VoiceParams
from data.splits import SplitParams
from data.validation.params import ValidationParams
from evaluation.gates.params import GateParams
from evaluation.monitoring.params import MonitoringParams
from evaluation.params import EvaluationParams
from evaluation.report.run import ReportParams
from flows.runtime.transcription_params import HearingParams
from models.churn.treatment import TreatmentParams
from training.asr.base import BaseTraining
from training.asr.finetune import AsrTraining
from training.asr.text_adaptation import TextAdaptation
from training.churn.backtest import BacktestParams
from training.churn.settings import ChurnTraining
from training.reader.train import ReaderTraining


@dataclass(frozen=True)
class Params:
    """All of params.yaml. A section that is not there has its defaults."""

    simulator: SimulatorParams = field(default_factory=SimulatorParams)
    sources: SourceParams = field(default_factory=SourceParams)
    ingest: IngestParams = field(default_factory=IngestParams)
    validation: ValidationParams = field(default_factory=ValidationParams)
    splits: SplitParams = field(default_factory=SplitParams)
    voices: VoiceParams = field(default_factory=VoiceParams)
    hours: HoursParams = field(default_factory=HoursParams)
    pseudo: PseudoParams = field(default_factory=PseudoParams)
    asr: AsrTraining = field(default_factory=AsrTraining)
    adaptation: TextAdaptation = field(default_factory=TextAdaptation)
    hearing: HearingParams = field(default_factory=HearingParams)
    labelling: LabellingParams = field(default_factory=LabellingParams)
    reader: ReaderTraining = field(default_factory=ReaderTraining)
    reading: ReadingParams = field(default_factory=ReadingParams)
    features: FeatureParams = field(default_factory=FeatureParams)
    churn: ChurnTraining = field(default_factory=ChurnTraining)
    backtest: BacktestParams = field(default_factory=BacktestParams)
    treatment: TreatmentParams = field(default_factory=TreatmentParams)
    evaluation: EvaluationParams = field(default_factory=EvaluationParams)
    gates: GateParams = field(default_factory=GateParams)
    monitoring: MonitoringParams = field(default_factory=MonitoringParams)
    report: ReportParams = field(default_factory=ReportParams)
    base: BaseTraining = field(default_factory=BaseTraining)


def section_names() -> tuple[str, ...]:
    """Returns the names of all sections of params.yaml."""
    return tuple(field.name for field in fields(Params))


def read_params(path: Path) -> Params:
    """Returns the parameters of the file.

    Raises ParamsError naming the file, the section and the key that is wrong.
    """
    sections = read_yaml(path)
    classes = typing.get_type_hints(Params)
    unknown = sorted(set(sections) - set(classes))
    if unknown:
        raise ParamsError(f"{path}: {unknown[0]} is not a section. Known: {', '.join(classes)}.")
    return Params(
        **{name: section(classes[name], values, name) for name, values in sections.items()}
    )
