"""Memory of what is let in: at most 10 bytes per pixel of the bound, from the encoded bytes to what the model reads."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ChatVipLlava, ImageError, ImageLimits, Workspace, mark
from langchain_vipllava.engine.pixel_values import PixelValues
from langchain_vipllava.images.decoding_room import DECODING, DecodingRoom
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.pixel_cache import PIXELS, PixelCache
from tests.support.hostile_images import encode, gif, png

PIXELS_ALLOWED = 4_000_000
CONSTANT = 32 * 2**20
"""What the codecs, Python and the allocator take beside the pixels, in bytes; docs/limits.md has the figure."""

BIG = 89_478_485

KINDS = {
    "16-bit gray PNG": lambda w, h: png(w, h, depth=16),
    "16-bit RGBA PNG": lambda w, h: png(w, h, depth=16, color=6),
    "1-bit PNG": lambda w, h: png(w, h, depth=1),
    "interlaced PNG": lambda w, h: png(w, h, color=2, interlaced=True),
    "RGBA PNG": lambda w, h: png(w, h, color=6),
    "LA PNG": lambda w, h: png(w, h, color=4),
    "palette with transparency": lambda w, h: encode(Image.new("P", (w, h)), transparency=b"\0"),
    "color key": lambda w, h: encode(Image.new("RGB", (w, h)), transparency=(0, 0, 0)),
    "CMYK JPEG": lambda w, h: encode(Image.new("CMYK", (w, h)), "JPEG"),
    "CMYK JPEG, progressive": lambda w, h: encode(Image.new("CMYK", (w, h)), "JPEG", progressive=True),
    "JPEG, progressive": lambda w, h: encode(Image.new("RGB", (w, h)), "JPEG", progressive=True, subsampling=0),
    "JPEG": lambda w, h: encode(Image.new("RGB", (w, h)), "JPEG"),
    "rotated JPEG": lambda w, h: encode(Image.new("RGB", (w, h)), "JPEG", exif=orientation(6)),
    "rotated PNG with alpha": lambda w, h: encode(Image.new("RGBA", (w, h)), "PNG", exif=orientation(7)),
    "GIF of 35 bytes": gif,
    "GIF, animated": lambda w, h: animated("P", w, h, "GIF"),
    "WebP": lambda w, h: encode(Image.new("RGB", (w, h)), "WEBP"),
    "WebP, animated": lambda w, h: animated("RGBA", w, h, "WEBP"),
    "WebP, lossless": lambda w, h: encode(Image.new("RGBA", (w, h)), "WEBP", lossless=True),
    "AVIF": lambda w, h: encode(Image.new("RGBA", (w, h)), "AVIF", speed=10, subsampling="4:4:4"),
    "TIFF, F": lambda w, h: encode(Image.new("F", (w, h)), "TIFF", compression="tiff_lzw", strip_size=2**30),
    "TIFF, I": lambda w, h: encode(Image.new("I", (w, h), 70_000), "TIFF", compression="tiff_lzw"),
    "TIFF, big-endian 16-bit": lambda w, h: encode(Image.new("I;16B", (w, h)), "TIFF", compression="tiff_lzw"),
    "TIFF, JPEG in one strip": lambda w, h: encode(
        Image.new("RGB", (w, h)), "TIFF", compression="jpeg", strip_size=2**30
    ),
    "BMP": lambda w, h: encode(Image.new("L", (w, h)), "BMP"),
}


def orientation(value):
    block = Image.Exif()
    block[0x0112] = value
    return block


def animated(mode, width, height, format):
    frames = [Image.new(mode, (width, height), value) for value in (1, 2)]
    return encode(frames[0], format, save_all=True, append_images=frames[1:])


SCRIPT = """
import json, sys
import numpy as np
from PIL import Image
from langchain_vipllava import ChatVipLlava, ImageAccessPolicy, ImageError, ImageLimits
from langchain_vipllava.backends.local import compile_request
from langchain_vipllava.images.pixel_cache import PIXELS
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.chat_request import ChatRequest

def memory(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

def see(source, limits):
    image = ImageAccessPolicy.trusted(limits=limits).resolve(source)
    del source
    encoder.encode(compile_request(ChatRequest(Conversation((Turn("What?", (image,)),)))))
    return image.size

encoder = ChatVipLlava(model="bundled").backend.runner.encoder
see(Image.new("RGB", (2000, 300)), ImageLimits())
for line in sys.stdin:
    pixels, source = json.loads(line)
    source = source if source.startswith("/") else eval(source)
    PIXELS.clear()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins again: proc(5)
    before = memory("VmRSS")
    try:
        size = see(source, ImageLimits(max_pixels=pixels, max_side=10**9))
    except ImageError as error:
        size = str(error)
    print(json.dumps([size, memory("VmHWM") - before]), flush=True)
"""


@pytest.fixture(scope="module")
def measure():
    """Return what reads an image in a process of its own, and returns its size, or the error, and the memory taken."""
    # a fixed threshold: otherwise malloc keeps what was freed, and the next image seems to take nothing
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def ask(source, pixels=PIXELS_ALLOWED):
        print(json.dumps([pixels, str(source)]), file=child.stdin, flush=True)
        return json.loads(child.stdout.readline())

    yield ask
    child.stdin.close()
    child.wait(60)


def largest(make, pixels, shape=(1, 1)):
    """Make the largest image of a kind that is let in: decoders that need more memory are asked for fewer pixels."""
    for share in (1, 0.83, 0.55, 0.3):
        side = (pixels * share * 0.99 / (shape[0] * shape[1])) ** 0.5
        data = make(int(side * shape[0]), int(side * shape[1]))
        try:
            EncodedImage(data, limits=ImageLimits(max_pixels=pixels)).decode(keep=False)
        except ImageError:
            continue
        return data
    raise AssertionError("not even a third of the pixels is let in")


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux_only
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_takes_at_most_10_bytes_per_pixel_of_the_bound(kind, tmp_path, measure):
    (tmp_path / "a").write_bytes(largest(KINDS[kind], PIXELS_ALLOWED))
    size, taken = measure(tmp_path / "a")
    assert size[0] * size[1] > PIXELS_ALLOWED * 0.25
    assert taken <= 10 * PIXELS_ALLOWED + CONSTANT


@linux_only
@pytest.mark.parametrize(
    "size", [(15_000, 1), (30_000, 1), (65_535, 1), (100_000, 1), (1, 65_535), (65_535, 60), (60, 65_535), (4000, 999)]
)
def test_an_image_of_any_shape_takes_no_more(size, tmp_path, measure):
    """The finding: 80 bytes took 3.5 GiB, as a square of 15,000 x 15,000 pixels."""
    (tmp_path / "a").write_bytes(png(*size))
    assert len(png(*size)) < 5000
    seen, taken = measure(tmp_path / "a")
    assert tuple(seen) == size
    assert taken <= 10 * PIXELS_ALLOWED + CONSTANT


@linux_only
@pytest.mark.parametrize(
    "array",
    ["np.zeros((1000, 1000, 4))", "np.zeros((2000, 2000), '>u2')", "np.broadcast_to(np.uint8(0), (2000, 2000, 3))",
     "np.broadcast_to(np.float64(0), (2000, 2000, 4))", "np.zeros((2000, 2000), bool)", "np.zeros((500, 2000), int)",
     "Image.new('I', (2000, 2000))", "Image.new('F', (2000, 2000))", "Image.new('I;16B', (2000, 2000))",
     "Image.new('LA', (2000, 2000))", "Image.new('PA', (2000, 2000))", "Image.new('CMYK', (2000, 2000))",
     "Image.new('1', (2000, 2000))", "Image.new('RGBa', (2000, 2000))", "Image.new('La', (2000, 2000))"],
)  # fmt: skip
def test_arrays_and_pil_images_take_no_more_beside_themselves(array, measure):
    size, taken = measure(array)
    assert isinstance(size, list)
    assert taken <= 10 * PIXELS_ALLOWED + CONSTANT


@linux_only
@pytest.mark.parametrize("kind", ["16-bit gray PNG", "RGBA PNG", "GIF of 35 bytes"])
def test_the_default_bound_holds_too(kind, tmp_path, measure):
    (tmp_path / "a").write_bytes(KINDS[kind](9400, 9400))
    size, taken = measure(tmp_path / "a", BIG)
    assert size == [9400, 9400]
    assert taken <= 10 * BIG


# --- what is held between the calls ---


CACHED = 4 * 100 * 100 + 1024
"""An image of 100 x 100 pixels in the cache."""


@pytest.fixture
def cache(monkeypatch):
    PIXELS.clear()
    monkeypatch.setattr(PIXELS, "max_bytes", 3 * CACHED)
    yield PIXELS
    PIXELS.clear()


def decoded(cache):
    return [image.size for image in cache._images.values()]


def test_open_images_do_not_keep_their_pixels(cache):
    images = [EncodedImage(png(100, 100, color=2)) for _ in range(10)]
    for image in images:
        assert image.size == (100, 100)
        image.decode()
    assert cache.bytes == 3 * CACHED
    gc.collect()
    alive = [image._decoded() is not None for image in images]
    assert alive == [False] * 7 + [True] * 3
    assert sum(len(part) for image in images for part in image.in_memory) < 10 * 1000
    assert np.array_equal(images[0].decode(), images[9].decode())


def test_pixels_that_somebody_uses_are_shared_and_others_come_again(cache):
    image = EncodedImage(png(90, 90))
    pixels = image.decode()
    cache.clear()
    assert image.decode() is pixels
    gone = weakref.ref(pixels)
    del pixels
    cache.clear()
    gc.collect()
    assert gone() is None
    assert image.decode().size == (90, 90)


def test_an_image_larger_than_the_cache_evicts_nothing(cache):
    small, large = EncodedImage(png(50, 50)), EncodedImage(png(300, 300))
    small.decode()
    large.decode()
    assert decoded(cache) == [(50, 50)]
    assert large.size == (300, 300)


def test_the_least_recently_used_pixels_go_first(cache):
    images = [EncodedImage(png(100, 100)) for _ in range(4)]
    for image in images[:3]:
        image.decode()
    images[0].decode()
    images[3].decode()
    gc.collect()
    assert [image._decoded() is not None for image in images] == [True, False, True, True]


def test_an_image_that_is_loaded_or_came_as_pixels_is_not_in_the_cache(cache):
    from langchain_vipllava import load_image

    load_image(png(50, 50))
    EncodedImage.from_pixels(Image.new("RGB", (50, 50))).decode()
    assert cache.bytes == 0


def test_images_without_many_pixels_count_too():
    """One of 1 x 1 pixels takes 760 bytes, and counted 4."""
    cache = PixelCache(100 * 2**10)
    for _ in range(1000):
        cache.keep(Image.new("RGB", (1, 1)))
    assert len(cache._images) < 100


def test_a_bound_of_zero_keeps_nothing():
    empty = PixelCache(0)
    empty.keep(Image.new("RGB", (5, 5)))
    assert empty.bytes == 0


def test_a_workspace_opens_marks_and_asks_about_a_thin_image(tmp_path):
    from langchain_vipllava import ImageAccessPolicy
    from langchain_vipllava.backends.vision import BackendVision

    (tmp_path / "thin.png").write_bytes(png(20_000, 3))
    workspace = Workspace(
        model=BackendVision(ChatVipLlava(model="bundled", max_tokens=2).backend),
        access=ImageAccessPolicy(image_root=tmp_path),
    )
    opened = workspace.open("thin.png", session="me")
    assert opened.size == (20_000, 3)
    marked = workspace.mark(opened.image_id, [[100, 0, 9000, 3]], session="me")
    assert workspace.ask(marked.image_id, "What is {r1}?", session="me").text is not None


@pytest.mark.filterwarnings("ignore::langchain_vipllava.TinyRegionWarning")
def test_repeated_marks_decode_once(monkeypatch):
    from langchain_vipllava import Region
    from langchain_vipllava.images import image as image_module
    from langchain_vipllava.images.decode import decode_image

    calls = []
    monkeypatch.setattr(image_module, "decode_image", lambda *args: calls.append(1) or decode_image(*args))
    image = EncodedImage(png(640, 480, color=2))
    for x in range(3):
        mark(image, [Region(box=(10 + x, 10, 200, 200))])
    assert len(calls) == 1


# --- requests that wait ---


def test_requests_about_one_image_share_what_the_model_reads():
    import torch

    values = PixelValues(max_bytes=4 * 12)
    first = values.add(1, torch.zeros(3, 2, 2))
    assert values.add(1, torch.ones(3, 2, 2)) is first
    assert values.get(1) is first
    second = values.add(2, torch.ones(3, 2, 2))
    assert values.get(1) is first, "a request holds it, whatever the bound"
    del second
    values.get(1)
    gc.collect()
    assert values.get(2) is None


def test_a_request_that_waits_holds_only_what_the_model_reads():
    from langchain_vipllava.backends.local import compile_request
    from langchain_vipllava.prompt.conversation import Conversation, Turn
    from langchain_vipllava.protocol.chat_request import ChatRequest

    encoder = ChatVipLlava(model="bundled").backend.runner.encoder
    image = EncodedImage(png(1500, 1500, color=2))
    bytes_ref, request = weakref.ref(image), ChatRequest(Conversation((Turn("What?", (image,)),)))
    prompts = [encoder.encode(compile_request(request)) for _ in range(3)]
    pixels = weakref.ref(image.decode())
    assert len({id(prompt.images[0].pixels) for prompt in prompts}) == 1
    assert prompts[0].images[0].pixels.shape == (3, encoder.side, encoder.side)
    assert prompts[0].images[0].pixels.untyped_storage().nbytes() == 3 * encoder.side**2 * 4
    del image, request
    PIXELS.clear()
    gc.collect()
    assert bytes_ref() is None
    assert pixels() is None


# --- images that are read at the same time ---

TOGETHER = """
import sys, threading
from langchain_vipllava import ChatVipLlava, ImageError, ImageLimits
from langchain_vipllava.backends.local import compile_request
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.pixel_cache import PIXELS
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.chat_request import ChatRequest

def memory(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

encoder = ChatVipLlava(model="bundled").backend.runner.encoder
data = open(sys.argv[1], "rb").read()

def see(number):
    image = EncodedImage(data + bytes(number), limits=ImageLimits(max_pixels=4_000_000))
    prompts[number] = encoder.encode(compile_request(ChatRequest(Conversation((Turn("What?", (image,)),)))))

prompts = {}
see(0)
PIXELS.max_bytes = 0
PIXELS.clear()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = memory("VmRSS")
threads = [threading.Thread(target=see, args=(number,)) for number in range(1, 17)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(prompts) == 17
print(memory("VmHWM") - before)
"""


@linux_only
@pytest.mark.parametrize("kind", ["RGBA PNG", "WebP"])
def test_images_that_are_read_at_the_same_time_take_no_more_together(kind, tmp_path):
    (tmp_path / "a").write_bytes(largest(KINDS[kind], PIXELS_ALLOWED))
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(tmp_path / "a")],
        capture_output=True, text=True, check=True, env=environment, timeout=300,
    )  # fmt: skip
    assert int(run.stdout) <= 10 * PIXELS_ALLOWED + CONSTANT


def test_rooms_are_entered_in_the_order_of_arrival_and_left_after_errors():
    room, log, first, go = DecodingRoom(), [], threading.Event(), threading.Event()

    def fail():
        with room.enter(6, 10):
            first.set()
            go.wait(60)
            raise ZeroDivisionError

    def hold():
        with pytest.raises(ZeroDivisionError):
            fail()

    def enter(need):
        with room.enter(need, 10):
            log.append(need)

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    first.wait(60)
    for number, need in enumerate((9, 1), 2):  # the small one would fit, but does not overtake
        threads.append(threading.Thread(target=enter, args=(need,)))
        threads[-1].start()
        while len(room._needs) < number:
            pass
    assert log == []
    go.set()
    for thread in threads:
        thread.join(60)
    assert log in ([9, 1], [1, 9])
    assert len(room._needs) == 0


def test_an_image_that_opens_another_one_while_it_is_decoded_does_not_wait_for_itself():
    room = DecodingRoom()
    with room.enter(10, 10), room.enter(10, 10):
        assert list(room._needs.values()) == [10]
    with room.keep():
        with room.enter(7, 10):
            pass
        with room.enter(9, 10):
            pass
        assert list(room._needs.values()) == [7], "what was decoded is still in use"
    assert len(room._needs) == 0
    with room.enter(10, 10):
        assert list(room._needs.values()) == [10]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_the_threads_of_its_parent():
    entered, go = threading.Event(), threading.Event()

    def hold():
        with DECODING.enter(10**12, 10**12):
            entered.set()
            go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if EncodedImage(png(50, 50)).decode().size == (50, 50) else 1)
    go.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
