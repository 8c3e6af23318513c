"""The tools, as the official client sees them over HTTP."""

from __future__ import annotations

import base64
import hashlib
import io

import jsonschema
import pytest
from PIL import Image

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava import ImageAccessPolicy, VipLlavaError, Workspace
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.mcp.server import WorkspaceServer
from langchain_vipllava.tools.base import tool_classes
from tests.support.mcp_clients import over_http, serving

BOXES = [[59, 378, 164, 483], [206, 30, 426, 250]]


async def opened_and_marked(client, regions=BOXES, **options):
    opened = await client.call("open_image", source=SCENE.name)
    return opened, await client.call("mark_regions", image_id=opened.structured["image_id"], regions=regions, **options)


async def test_every_tool_of_an_agent_is_served_with_its_own_schema(served):
    async with over_http(served.url) as client:
        tools = await client.tools()
    ours = {tool.model_fields["name"].default: tool for tool in tool_classes()}
    assert list(tools) == [*ours, "list_images", "look_at_image", "forget_image"]
    for name, tool in ours.items():
        assert tools[name]["description"] == tool.model_fields["description"].default
        assert tools[name]["inputSchema"] == tool.model_fields["args_schema"].default.model_json_schema()
    for description in tools.values():
        jsonschema.Draft202012Validator.check_schema(description["inputSchema"])
        jsonschema.Draft202012Validator.check_schema(description["outputSchema"])
        assert description["outputSchema"]["type"] == "object"
    assert tools["mark_regions"]["outputSchema"]["required"] == ["image_id", "source_id", "markers", "images"]
    assert {name for name in tools if tools[name]["annotations"]["readOnlyHint"]} == {"list_images", "look_at_image"}


async def test_an_image_is_opened_detected_marked_and_asked_about(served, mode):
    async with over_http(served.url, mode) as client:
        schemas = {name: tool["outputSchema"] for name, tool in (await client.tools()).items()}
        opened = await client.call("open_image", source=SCENE.name)
        assert (opened.structured["width"], opened.structured["height"]) == Image.open(SCENE).size
        image_id = opened.structured["image_id"]
        detected = await client.call("detect_regions", image_id=image_id, max_regions=2)
        assert [region["id"] for region in detected.structured["regions"]] == ["r1", "r2"]
        marked = await client.call("mark_regions", image_id=image_id, regions=["r1", "r2"])
        assert [marker["phrase"] for marker in marked.structured["markers"]] == [
            "within the red rectangle",
            "within the lime rectangle",
        ]
        marked_id = marked.structured["image_id"]
        first = await client.call("ask_regions", image_id=marked_id, question="What is the object {r1}?")
        assert first.text == 'The vision model answered: "A white square."'
        second = await client.call("ask_regions", image_id=marked_id, question="What color is it?")
        assert second.structured["answer"] == "White."
        looked = await client.call("look_at_image", image_id=marked_id)
        assert looked.images == marked.images
        forgotten = await client.call("forget_image", image_id=marked_id)
        assert (await client.try_call("ask_regions", image_id=marked_id, question="What?")).is_error
    results = {"open_image": opened, "detect_regions": detected, "mark_regions": marked, "ask_regions": second}
    for name, result in {**results, "look_at_image": looked, "forget_image": forgotten}.items():
        jsonschema.validate(result.structured, schemas[name])


async def test_a_point_becomes_a_mask(served, mode):
    async with over_http(served.url, mode) as client:
        schema = (await client.tools())["segment_regions"]["outputSchema"]
        image_id = (await client.call("open_image", source=SCENE.name)).structured["image_id"]
        segmented = await client.call("segment_regions", image_id=image_id, points=[[316, 140]])
        jsonschema.validate(segmented.structured, schema)
        assert segmented.structured["regions"] == [{"id": "r1", "box": [208.0, 32.0, 424.0, 248.0]}]
        marked = await client.call("mark_regions", image_id=image_id, regions=["r1"], kind="mask contour")
        marked_id = marked.structured["image_id"]
        answered = await client.call("ask_regions", image_id=marked_id, question="What is the object {r1}?")
        assert answered.structured["answer"] == "A blue circle."


async def test_a_marked_image_is_content_and_a_resource_by_its_hash(served, mode):
    drawn = Workspace()
    drawn.add_image(SCENE)
    expected = drawn.mark("photo1", BOXES).marked.image
    async with over_http(served.url, mode) as client:
        _, marked = await opened_and_marked(client)
        (described,) = marked.structured["images"]
        mime_type, data = await client.read(described["uri"])
        listed = await client.resources()
        # where the protocol has no sessions, nobody but the ids knows whose they are
        name = "marked1: within the red rectangle; within the lime rectangle"
        assert listed == ({described["uri"]: name} if mode == "legacy" else {})
        assert [template["uriTemplate"] for template in await client.templates()] == ["vip://image/{sha256}"]
    assert mime_type == "image/png"
    assert hashlib.sha256(data).hexdigest() == described["uri"].removeprefix("vip://image/").partition(".")[0]
    assert Image.open(io.BytesIO(data)).tobytes() == expected.tobytes()
    (shown,) = marked.images
    assert Image.open(io.BytesIO(shown)).format == "JPEG"
    assert Image.open(io.BytesIO(shown)).size == expected.size


async def test_pages_are_resources_of_their_own(served, mode):
    cells = [[20 + 100 * (i % 4), 20 + 100 * (i // 4), 80 + 100 * (i % 4), 80 + 100 * (i // 4)] for i in range(12)]
    async with over_http(served.url, mode) as client:
        _, marked = await opened_and_marked(client, cells)
        images = marked.structured["images"]
        assert [image["page"] for image in images] == [0, 1]
        assert len({(await client.read(image["uri"]))[1] for image in images}) == 2
        looked = await client.call("look_at_image", image_id=marked.structured["image_id"], page=1)
        assert looked.structured["images"] == images[1:]
        asked = await client.call("ask_regions", image_id=marked.structured["image_id"], question="What is r12?")
        assert asked.structured["page"] == 1


async def test_progress_is_the_answer_so_far(served, mode):
    async with over_http(served.url, mode) as client:
        _, marked = await opened_and_marked(client)
        call = {"image_id": marked.structured["image_id"], "question": "What is the object {r1}?"}
        asked = await client.try_call("ask_regions", progress=True, **call)
        assert asked.structured["answer"] == "A white square."
        assert client.progress[-1] == '"A white square."'
        assert all('"A white square."'.startswith(message[:-1]) for message in client.progress)


async def test_a_vote_says_how_far_the_looks_agree(served, mode):
    async with over_http(served.url, mode) as client:
        _, marked = await opened_and_marked(client)
        call = {"image_id": marked.structured["image_id"], "question": "What is the object {r1}?", "vote": True}
        voted = await client.try_call("ask_regions", progress=True, **call)
        assert voted.structured["answer"] == "A white square."
        assert voted.structured["agreement"] > 0.5
        assert 0 < voted.structured["confidence"] <= 1
        votes = voted.structured["votes"]
        assert len({vote["question"] for vote in votes}) == len(votes) == len(client.progress) > 1
        assert sorted(client.progress) == sorted(f'"{vote["answer"]}"' for vote in votes)
        jsonschema.validate(voted.structured, (await client.tools())["ask_regions"]["outputSchema"])


async def test_errors_are_those_of_the_agent_tools(served, mode):
    async with over_http(served.url, mode) as client:
        opened = await client.call("open_image", source=SCENE.name)
        image_id = opened.structured["image_id"]
        outside = await client.try_call("open_image", source="/etc/passwd")
        assert outside.is_error
        assert "may be opened here" in outside.text
        assert outside.structured is None
        wrong = await client.try_call("mark_regions", image_id=image_id, regions=["r9"])
        assert wrong.is_error
        assert "r9" in wrong.text
        missing = await client.try_call("mark_regions", image_id=image_id)
        assert missing.text.startswith("These arguments do not fit: regions: Field required. Call the tool again")
        assert "no tool 'rm'" in (await client.try_call("rm", path="/")).text


async def test_an_image_may_come_as_a_data_uri_of_megabytes(served, mode):
    buffer = io.BytesIO()
    Image.effect_noise((2300, 2300), 90).convert("RGB").save(buffer, "PNG", compress_level=0)
    assert len(buffer.getvalue()) > 15 * 2**20
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    async with over_http(served.url, mode) as client:
        assert (await client.call("open_image", source=source)).structured["width"] == 2300


async def test_without_a_detector_there_is_no_tool_for_it_and_images_can_be_left_out(vision, mode):
    with serving(vision, access=ImageAccessPolicy(SCENE.parent), show_images=False) as served:
        async with over_http(served.url, mode) as client:
            assert "detect_regions" not in await client.tools()
            _, marked = await opened_and_marked(client)
            assert not marked.images
            assert (await client.call("look_at_image", image_id=marked.structured["image_id"])).images


async def test_list_images_has_what_a_connection_opened(served):
    async with over_http(served.url) as client:
        assert (await client.call("list_images")).text == "No image is open. Call open_image."
        await opened_and_marked(client)
        listed = await client.call("list_images")
        assert [image["image_id"] for image in listed.structured["images"]] == ["img1", "marked1"]
        jsonschema.validate(listed.structured, (await client.tools())["list_images"]["outputSchema"])


def test_a_server_for_one_client_cannot_listen(vision):
    with pytest.raises(VipLlavaError, match="without http="):
        WorkspaceServer(vision).app()


def test_a_program_can_use_the_workspace_of_its_server(vision):
    """With all that the model can do: `isinstance` of a later Python finds no methods behind `__getattr__`."""
    from inspect import getattr_static

    workspace = WorkspaceServer(vision).workspace
    image_id = workspace.add_image(SCENE)
    marked = workspace.mark(image_id, BOXES)
    assert workspace.ask(marked.image_id, "What is the object {r1}?").answer == "A white square."
    assert workspace.ask_vote(marked.image_id, "What is the object {r2}?").confidence > 0
    assert all(getattr_static(workspace._model, name) for name in ("answer_rated", "aanswer_rated", "score"))
    assert list(workspace.stream(marked.image_id, "What is the object {r1}?"))[-1].answer == "A white square."
