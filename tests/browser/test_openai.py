"""OpenAI's client for JavaScript in a real browser, from another origin than the API's."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser

from classifier.api.handler import Handler
from tests.support.requests import ROOT, base64_of
from tools.local.gateway import Limits
from tools.local.serve import running

CLIENT = ROOT / "tests" / "clients" / "node_modules" / "openai"
DOG = (ROOT / "examples" / "images" / "dog.jpg").read_bytes()
CALLS = """async ([url, apiKey, image]) => {
  const { default: OpenAI } = await import("/index.mjs");
  const options = { baseURL: `${url}v1`, apiKey, defaultHeaders: { "x-api-key": apiKey } };
  const client = new OpenAI({ ...options, maxRetries: 0, dangerouslyAllowBrowser: true });
  const input = [{ type: "image_url", image_url: { url: image } }];
  const models = await client.models.list();
  return {
    models: models.data.map(({ id }) => id),
    model: (await client.models.retrieve("drawings")).id,
    moderation: await client.moderations.create({ model: "drawings", input }),
    embeddings: await client.embeddings.create({ model: "demo", input: ["a dog", image] }),
    error: await client.models.retrieve("nothing").catch((problem) => problem.message),
  };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of a page that has the client's modules, on another origin than the API."""
    assert CLIENT.exists(), "the client is missing; install it with: npm ci in tests/clients"
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(CLIENT))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_openais_client_works_in_a_browser(
    browser: Browser, deployed: Handler, elsewhere: str
) -> None:
    key = "a-key"
    image = f"data:image/jpeg;base64,{base64_of(DOG)}"
    with running(deployed, Limits(api_key=key)) as url:
        page = browser.new_page()
        page.goto(elsewhere + "package.json")
        answers = page.evaluate(CALLS, [url, key, image])
        page.close()
    assert answers["models"][0] == "demo" and "drawings" in answers["models"]
    assert answers["model"] == "drawings"
    assert answers["moderation"]["results"][0]["flagged"] is True
    assert [len(entry["embedding"]) for entry in answers["embeddings"]["data"]] == [192, 192]
    assert "no model here" in answers["error"]
