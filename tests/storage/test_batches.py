"""What a batch holds in memory."""

import threading

from classifier.contract.request.parsing import parse_options
from classifier.engine.engine import Engine
from classifier.model.encoders import Encoders
from classifier.storage.batches import MAX_HELD_BYTES, Batch, batch_name
from classifier.storage.items import Item, skip_reason
from tests.support.images import encoded, soft_image


class MatchedLabel(bytes):
    """A file in memory."""

    live = peak = 0
    lock = threading.Lock()

    @classmethod
    def of(cls, data: bytes) -> "MatchedLabel":
        file = cls(data)
        with cls.lock:
            cls.live += len(data)
            cls.peak = max(cls.peak, cls.live)
        return file

    def __del__(self) -> None:
        with MatchedLabel.lock:
            MatchedLabel.live -= len(self)


class Memory:
    """A store of the same file under every key."""

    def __init__(self, data: bytes, *, knows_sizes: bool) -> None:
        self.data = data
        self.knows_sizes = knows_sizes

    def skip_reason(self, item: Item) -> str | None:
        return skip_reason(item)

    def stat(self, item: Item) -> Item:
        return Item(item.key, "e", len(self.data))

    def read(self, item: Item) -> tuple[Item, bytes]:
        return self.stat(item), MatchedLabel.of(self.data)


def test_a_batch_of_the_largest_images_stays_within_its_memory(encoders: Encoders) -> None:
    large = encoded(soft_image(3000, 1600), "BMP")
    assert 12 * len(large) > 2 * MAX_HELD_BYTES
    for size in (len(large), None):
        MatchedLabel.peak = MatchedLabel.live = 0
        items = [Item(f"{i}.bmp", "e", size) for i in range(12)]
        batch = Batch(
            Engine(encoders),
            "m",
            parse_options({"labels": ["a", "b"]}),
            items,
            Memory(large, knows_sizes=size is not None),
            lambda: 10**9,
        )
        assert ["result" in outcome.line for outcome in batch.classify()] == [True] * 12
        assert len(large) < MatchedLabel.peak <= MAX_HELD_BYTES
    assert MatchedLabel.live == 0


def test_what_is_no_image_is_told_by_name_and_size() -> None:
    skipped = {
        "a/": "folder",
        "a.txt": "suffix .txt",
        "a.tar.gz": "suffix .gz",
        "a.HEIC": "suffix .heic",
    }
    assert {key: skip_reason(Item(key, "e", 5)) for key in skipped} == skipped
    assert skip_reason(Item("a.jpg", "e", 0)) == "empty"
    assert skip_reason(Item("a.jpg", "e", 50_000_001)) == "more than 50 MB"
    assert [key for key in ("a.JPG", "a", "a.b/c", "jpg", "a.avif") if skip_reason(Item(key))] == []


def test_what_lies_in_a_hidden_folder_or_in_a_waste_bin_below_the_prefix_is_skipped() -> None:
    skipped = {
        "photos/.trash/a.jpg": "hidden",
        "photos/._a.jpg": "hidden",
        "photos/@eaDir/a.jpg/thumb.jpg": "in @eaDir",
        "photos/#Recycle/a.jpg": "in #Recycle",
        "photos/Thumbs.db": "in Thumbs.db",
    }
    assert {key: skip_reason(Item(key, "e", 5), "photos/") for key in skipped} == skipped
    assert skip_reason(Item(".ours/a.jpg", "e", 5), ".ours/") is None
    assert skip_reason(Item(".ours/a.jpg", "e", 5)) == "hidden"


def test_a_batchs_name_depends_on_its_keys_and_etags_and_not_on_their_order() -> None:
    one = Item("a", "1")
    two = Item("b", "2")
    assert batch_name([one, two]) == batch_name([two, one]) != batch_name([one])
    assert (
        len(
            {
                batch_name([item])
                for item in (one, Item("a", "2"), Item("a", "1", version="v"), Item("a1", ""), two)
            }
        )
        == 5
    )
