"""The types of settings that may be `none`, and lists: texts of cdk.json or -c become values."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field


def _none(value: object) -> object:
    return None if value in ("", "none") else value


def split_items(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _cidr(text: str) -> str:
    # Raises ValueError for host bits as well: 10.0.0.1/8 is refused, since it allows more than it
    # seems to.
    return str(ipaddress.ip_network(text))


Rate = Annotated[float, Field(gt=0, le=10000)]
Burst = Annotated[int, Field(ge=1, le=5000)]
Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_none)]
Email = Annotated[
    Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None, BeforeValidator(_none)
]
Domain = Annotated[
    Annotated[
        str, Field(max_length=253, pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$")
    ]
    | None,
    BeforeValidator(_none),
]
Certificate = Annotated[
    Annotated[
        str, Field(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[A-Za-z0-9-]+$")
    ]
    | None,
    BeforeValidator(_none),
]
HostedZone = Annotated[
    Annotated[str, Field(pattern=r"^Z[A-Z0-9]{1,31}$")] | None, BeforeValidator(_none)
]
VpcEndpoint = Annotated[
    Annotated[str, Field(pattern=r"^vpce-[0-9a-f]{8,17}$")] | None, BeforeValidator(_none)
]
# The policy of a REST API holds 8,192 bytes: about a hundred ranges of IPv6.
Networks = Annotated[
    Annotated[
        tuple[Annotated[str, AfterValidator(_cidr)], ...], Field(min_length=1, max_length=100)
    ]
    | None,
    BeforeValidator(split_items),
    BeforeValidator(_none),
]
BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
Bucket = Annotated[Annotated[str, Field(pattern=BUCKET)] | None, BeforeValidator(_none)]
# A key with characters that a list of events' patterns or a policy would take for its own is
# refused.
PREFIX = r"^[A-Za-z0-9!_.'()/=+,@:-][A-Za-z0-9!_.'()/=+,@: -]{0,511}$"
Prefix = Annotated[Annotated[str, Field(pattern=PREFIX)] | None, BeforeValidator(_none)]
File = Annotated[
    Annotated[str, Field(pattern=r"^[A-Za-z0-9_./ -]+\.json$")] | None, BeforeValidator(_none)
]
# An alarm can't send to a topic that keeps an order, whose name ends in .fifo.
Topic = Annotated[
    Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}$")]
    | None,
    BeforeValidator(_none),
]
Key = Annotated[
    Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$")]
    | None,
    BeforeValidator(_none),
]
