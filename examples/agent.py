"""A LangGraph agent that looks at regions, with a checkpointer.

The agent's LLM is scripted here, so that the example runs without a key. For a real one:
`llm = init_chat_model("provider:model")`.
"""

from pathlib import Path

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from langchain_vipllava import ChatVipLlava, VipLlavaToolkit
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.apps.scripted import ScriptedAgentModel

SCENE = Path(__file__).parent / "scene.png"

toolkit = VipLlavaToolkit(
    chat_model=ChatVipLlava(model="bundled"),
    detector=detect_shapes,
    image_root=SCENE.parent,  # the LLM may open what is here, and no other file
)
llm = ScriptedAgentModel(source=str(SCENE), questions=["What is the object {r1}?", "What color is it?"])
agent = create_agent(llm, toolkit.get_tools(), checkpointer=InMemorySaver())

config = {"configurable": {"thread_id": "a conversation"}}
task = f"What is the first thing in {SCENE.name}, and what color is it?"
for message in agent.invoke({"messages": [("user", task)]}, config)["messages"]:
    message.pretty_print()

# What the vision model was asked, in its own format:
turns = toolkit.messages("marked1", thread_id="a conversation")
print([turn.text for turn in turns])
