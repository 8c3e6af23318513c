"""From an image and a detector's output to an answer, and a follow-up question."""

from pathlib import Path

from langchain_core.messages import HumanMessage

from langchain_vipllava import ChatVipLlava, load_image, mark, regions_from
from langchain_vipllava.apps.detectors import detect_shapes

SCENE = Path(__file__).parent / "scene.png"

image = load_image(SCENE)
regions = regions_from(detect_shapes(image), image_size=image.size)  # any detector's output
marked = mark(image, regions[:2])  # a red and a lime rectangle
print(marked)

llm = ChatVipLlava(model="bundled")  # or "llava-hf/vip-llava-7b-hf", dtype="float16", device="cuda"
first = marked.message("What is the object {0}?")
answer = llm.invoke([first])
print(marked.question("What is the object {0}?"), "->", answer.text)

follow_up = HumanMessage("What color is it?")
print(follow_up.text, "->", llm.invoke([first, answer, follow_up]).text)
print(repr(llm.render_prompt([first, answer, follow_up])))
