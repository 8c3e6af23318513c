"""A client stops a question: the model stops, and the conversation is as it was."""

from __future__ import annotations

import asyncio
import threading

import pytest

pytest.importorskip("mcp", reason="the MCP SDK is not installed: pip install 'langchain-vipllava[mcp]'")

from langchain_vipllava import ImageAccessPolicy
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.mcp.sdk import IS_LINE_2, types
from langchain_vipllava.workspace.vision_model import ModelReply
from tests.mcp_server.test_tools import opened_and_marked
from tests.support.mcp_clients import over_http, serving


class EndlessVision:
    """Stands in for a slow model: its first answer never ends by itself."""

    view_size = 336

    def __init__(self):
        self.started, self.stopped = threading.Event(), threading.Event()
        self.conversations = []

    async def aanswer(self, conversation):
        self.conversations.append(conversation)
        if len(self.conversations) > 1:
            return ModelReply("Yes.")
        await self._hang()

    async def astream(self, conversation):
        self.conversations.append(conversation)
        if len(self.conversations) == 1:
            yield "I "
            await self._hang()
        yield ModelReply("Yes.")

    def answer(self, conversation):
        raise NotImplementedError

    async def _hang(self):
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


@pytest.mark.parametrize("progress", [False, True])
async def test_a_cancelled_question_stops_the_model(mode, progress):
    vision = EndlessVision()
    with serving(vision, access=ImageAccessPolicy(SCENE.parent)) as served:
        async with over_http(served.url, mode) as client:
            _, marked = await opened_and_marked(client)
            image_id = marked.structured["image_id"]
            asking = asyncio.create_task(
                client.try_call("ask_regions", progress=progress, image_id=image_id, question="What is it?")
            )
            assert await asyncio.to_thread(vision.started.wait, 30)
            if not IS_LINE_2:  # its client keeps a cancellation to itself
                number = client.raw._request_id - 1
                parameters = types.CancelledNotificationParams(requestId=number)
                await client.raw.send_notification(
                    types.ClientNotification(
                        types.CancelledNotification(method="notifications/cancelled", params=parameters)
                    )
                )
            else:
                asking.cancel()
            assert await asyncio.to_thread(vision.stopped.wait, 30)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            again = await client.call("ask_regions", image_id=image_id, question="Is it white?")
            assert again.structured["answer"] == "Yes."
    assert [len(conversation.turns) for conversation in vision.conversations] == [1, 1]
