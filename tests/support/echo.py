"""`EchoBackend`: a backend that answers with the question. Shows how little the chat model asks of one."""

from __future__ import annotations

from langchain_vipllava.protocol.answer import Answer


class EchoBackend:
    """Repeats the last question, a word at a time; a word is a token, an image is ten."""

    name = "echo"
    cache_key = "echo"
    context_length = 10_000

    def check(self, output):
        """Any form is fine: it is ignored."""

    def tokenize(self, text):
        return [hash(word) % 1000 for word in text.split()]

    def count_tokens(self, request):
        return len(request.render(allow_partial=True).text.split()) + 10 * len(request.conversation.images)

    def generate(self, request, *, timeout=None):
        *_, answer = self.stream(request)
        return answer

    async def agenerate(self, request, *, timeout=None):
        return self.generate(request)

    def stream(self, request, *, timeout=None):
        request.render()  # raises where there is no question
        words = request.conversation.turns[-1].question.split()
        cut = words[: request.max_tokens]
        text = " ".join(cut)
        text = min((text.split(stop)[0] for stop in request.all_stop_texts), key=len, default=text)
        for index, word in enumerate(text.split()):
            yield word if index == 0 else f" {word}"
        reason = "length" if len(cut) < len(words) else "stop"
        yield Answer(" ".join(text.split()), self.count_tokens(request), len(text.split()), reason)

    async def astream(self, request, *, timeout=None):
        for piece in self.stream(request):
            yield piece
