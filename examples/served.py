"""The same program in this process and on a server: one argument differs.

python examples/served.py
python examples/served.py http://gpu-host:8000/v1 FOLDER_OF_THE_EXPORT
"""

import sys
from pathlib import Path

from langchain_core.messages import HumanMessage

from langchain_vipllava import ChatVipLlava, Region, load_image, mark

SCENE = Path(__file__).parent / "scene.png"

# the folder is that of `langchain-vipllava export`, here for its tokenizer; without it, the server's own is asked
address, tokenizer = [*sys.argv[1:], None, None][:2]
llm = ChatVipLlava(base_url=address, tokenizer=tokenizer) if address else ChatVipLlava(model="bundled")

regions = [Region(box=(59, 378, 164, 483)), Region(box=(206, 30, 426, 250))]
marked = mark(load_image(SCENE), regions, kind=["rectangle", "ellipse"])
first = marked.message("What is the object {0}?")
answer = llm.invoke([first])
print(marked.question("What is the object {0}?"), "->", answer.text)

for piece in llm.stream([first, answer, HumanMessage("What color is it?")]):
    print(piece.text, end="", flush=True)
print()
print(llm.with_structured_output(marked.answers_schema()).invoke([marked.message("What color is the object {0}?")]))
