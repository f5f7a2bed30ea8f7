"""Labels contacts without annotators: rules vote and a label model weighs their votes."""

from data.labelling.labeller import LabelResult, label
from data.labelling.scheme import SCHEME, LabellingParams

__all__ = ["SCHEME", "LabelResult", "LabellingParams", "label"]
