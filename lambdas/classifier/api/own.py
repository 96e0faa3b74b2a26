"""The API's own dialect: a JSON object, or an image with its question in the URL."""

from collections.abc import Mapping, Sequence

from classifier.contract.errors import ApiError
from classifier.contract.parsing import parse_json
from classifier.contract.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.contract.url_parameters import parse_query


class Own:
    def read(self, body: JsonObject | bytes, parameters: Mapping[str, Sequence[str]]) -> Query:
        return parse_query(parameters, body) if isinstance(body, bytes) else parse_json(body)

    def write(self, query: Query, answer: JsonObject) -> JsonObject:
        return answer

    def error(self, err: ApiError) -> JsonObject:
        return err.body()


OWN = Own()
