"""A checked request in the program's own terms, whatever dialect it came in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, Self, TypeAlias

from classifier.contract.errors import ApiError, shortened
from classifier.contract.request.fields import SLOT, Fit
from classifier.contract.request.image_fields import StoredImage
from classifier.contract.request.label_spec import LabelSpec

# An image file, its place in the bucket, or the reason why it can't be read.
File: TypeAlias = bytes | StoredImage | ApiError


@dataclass(frozen=True)
class Question:
    """What to look for, as LabelSpec describes it. `negative_template`: None if it wasn't sent."""

    labels: Sequence[str] | None = None
    categories: Mapping[str, Sequence[str]] | None = None
    combine: Literal["sum", "max"] = "sum"
    templates: Sequence[str] = (SLOT,)
    multi_label: bool = False
    negative_template: str | None = None
    fit: Fit | None = None
    actions: Sequence[str] | None = None
    thresholds: Mapping[str, float | dict[str, float]] | None = None
    min_similarity: float | None = None

    @classmethod
    def of(cls, spec: LabelSpec) -> Self:
        values = {name: getattr(spec, name) for name in LabelSpec.model_fields}
        if "negative_template" not in spec.model_fields_set:
            values["negative_template"] = None
        return cls(**values)

    @property
    def names(self) -> Sequence[str]:
        """The names in the answer, in order."""
        return list(self.categories or self.labels or ())

    @property
    def prompts(self) -> Sequence[str]:
        """The labels' or all categories' texts, in order."""
        if self.categories is None:
            return self.labels or ()
        return list(chain.from_iterable(self.categories.values()))


@dataclass(frozen=True)
class Query:
    """`images`: one image, or `several`, or none with `image_embedding`. `question`: empty until
    the engine knows the `classifier`, if there is one. `field_names`: the caller's names of our
    fields, if they differ.
    """

    question: Question = field(default_factory=Question)
    images: Sequence[File] = ()
    several: bool = False
    image_embedding: Sequence[float] | None = None
    classifier: str | None = None
    regions: int = 0
    regions_combine: Literal["whole", "max"] = "whole"
    min_probability: float | None = None
    top_k: int | None = None
    embedding: bool = False
    details: bool = False
    field_names: Mapping[str, str] = field(default_factory=dict)

    def path(self, name: str, *rest: object) -> str:
        """The caller's own path of a part of the request, such as `labels.3`, each step cut to the
        length that an error may have.
        """
        return ".".join(
            (self.field_names.get(name, name), *(shortened(str(step)) for step in rest))
        )

    def image_path(self, i: int) -> str:
        return self.path("images", i) if self.several else self.path("image_data")

    def key_path(self, i: int) -> str:
        """The path of an image's key in the bucket."""
        return f"{self.image_path(i)}.image_s3.key" if self.several else "image_s3.key"
