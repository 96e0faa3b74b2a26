"""The API's own dialect: a JSON object, a form, or an image with its question in the URL."""

from collections.abc import Mapping, Sequence

from classifier.api.body import Body
from classifier.api.form import Form
from classifier.contract.errors import ApiError
from classifier.contract.request.parsing import parse_json
from classifier.contract.request.query import Query
from classifier.contract.request.url_parameters import parse_form, parse_query
from classifier.contract.strict_json import JsonObject


class Own:
    def read(self, body: Body, parameters: Mapping[str, Sequence[str]]) -> Query:
        if isinstance(body, bytes):
            return parse_query(parameters, body)
        if isinstance(body, Form):
            texts = {
                name: [*parameters.get(name, ()), *body.texts.get(name, ())]
                for name in {**parameters, **body.texts}
            }
            return parse_form(texts, body.images, body.image_field)
        return parse_json(body)

    def write(self, query: Query, answer: JsonObject) -> JsonObject:
        return answer

    def error(self, err: ApiError) -> JsonObject:
        return err.body()


OWN = Own()
