"""Typical mistakes. Never run; mypy must report every line that ends in "wrong:" and the argument's name."""

from __future__ import annotations

from PIL import Image

from langchain_vipllava import ChatVipLlava, MarkRegions, Region, VipLlavaToolkit, mark, regions_from

image = Image.new("RGB", (64, 64))
region = Region(box=(8, 8, 40, 40))

mark(image, region, kind="elipse")  # wrong: kind
mark(image, region, color="green")  # wrong: color
mark(image, region, channels="gbr")  # wrong: channels
mark(image, region, zoom="on")  # wrong: zoom
mark(image, [region], kind=["arrow", "elipse"])  # wrong: kinds

regions_from([[0, 0, 4, 4]], box_format="xyhw")  # wrong: box_format
regions_from([[0, 0, 4, 4]], image_size=64)  # wrong: image_size

MarkRegions(kind="elipse")  # wrong: step_kind
MarkRegions(color="green")  # wrong: step_color
MarkRegions(colour="red")  # wrong: step_colour

llm = ChatVipLlava(model="bundled")
ChatVipLlava(model="bundled", multi_image="kep")  # wrong: multi_image
ChatVipLlava(model="bundled", dtype="fp16")  # wrong: dtype
ChatVipLlava(model="bundled", prompt_format="llava")  # wrong: prompt_format
ChatVipLlava(model="bundled", image_fit="crop")  # wrong: image_fit
ChatVipLlava(model="bundled", quantization="4bits")  # wrong: quantization
ChatVipLlava(model="bundled", temperature="cold")  # wrong: temperature
ChatVipLlava(model="bundled", max_new_tokens=16)  # wrong: max_new_tokens
llm.with_structured_output(Region, method="json")  # wrong: method

VipLlavaToolkit()  # wrong: chat_model
VipLlavaToolkit(chat_model="bundled")  # wrong: chat_model_text
VipLlavaToolkit(chat_model=llm, max_image=8)  # wrong: max_image
