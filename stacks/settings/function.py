"""What is deployed: the model, its classifiers and the function that runs them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from stacks.settings.errors import SettingsError
from stacks.settings.values import Count, split_items

# Of any function.
MAX_MEMORY_MB = 10_240


def _names(value: object) -> object:
    return () if value in ("", "none") else value if value == "all" else split_items(value)


class FunctionSettings(BaseModel):
    """The image and the function that answers requests."""

    name: str = Field(
        default="clip-classifier",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$",
        description=(
            "the stack's name, one per deployment: a letter, then letters, digits and hyphens, at"
            " most 128"
        ),
    )
    bundle: str = Field(description="the model: a folder in this repository that `make model` made")
    classifiers: Annotated[
        Literal["all"] | tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")], ...],
        BeforeValidator(_names),
    ] = Field(
        default="all",
        description=(
            "`all` that are in the folder `classifiers`, `none`, or the names of some such as"
            " `moderation,drawings`"
        ),
    )
    base_image: str = Field(
        default="public.ecr.aws/lambda/python:3.13",
        pattern=r"^[a-z0-9][a-z0-9.:-]*(/[a-z0-9._-]+)+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$",
        description=(
            "AWS's image for Lambda that ours is built on; `make update-base` pins today's in"
            " `cdk.json`"
        ),
    )
    architecture: Literal["arm64", "x86_64"] = Field(
        default="arm64", description="`arm64` or `x86_64`"
    )
    memory: int = Field(
        default=3008,
        ge=1280,
        le=MAX_MEMORY_MB,
        description=(
            "1,280 to 10,240 MB, one vCPU per 1,769; the largest images take 700 on top of"
            " the model; new accounts are refused more than 3,008"
        ),
    )
    timeout: int = Field(
        default=28, ge=5, le=28, description="5 to 28 seconds; API Gateway gives up after 29"
    )
    reserved_concurrency: Count = Field(
        default=None,
        description=(
            "`none`, or 1 and more: the most environments at once, taken from the account's own"
        ),
    )
    provisioned_concurrency: Count = Field(
        default=None,
        description=(
            "`none`, or 1 and more environments kept warm, paid by the hour; at most"
            " `reserved_concurrency`"
        ),
    )
    heic: bool = Field(
        default=False,
        description=(
            "`true` or `false`: take HEIC, iPhones' format; see [what it brings](deploy.md#heic)"
        ),
    )

    @model_validator(mode="after")
    def _keep_warm_at_most_what_is_reserved(self) -> Self:
        if (
            self.reserved_concurrency
            and (self.provisioned_concurrency or 0) > self.reserved_concurrency
        ):
            raise SettingsError(
                f"provisioned_concurrency={self.provisioned_concurrency} is more than"
                f" reserved_concurrency={self.reserved_concurrency}; at most that many environments"
                " can be kept warm."
            )
        return self
