"""`EchoBackend`: answers with the question. A minimal implementation of the backend protocol."""

from __future__ import annotations

from langchain_vipllava.protocol.answer import Answer


class EchoBackend:
    """Repeats the last question, word by word. A word counts as one token, an image as ten."""

    name = "echo"
    cache_key = "echo"
    context_length = 10_000

    def check_output(self, output):
        """Accept every output spec, and ignore it."""

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
        request.render()  # raises if the conversation does not end with a question
        words = request.conversation.turns[-1].question.split()
        limited = words[: request.max_tokens]
        text = " ".join(limited)
        text = min((text.split(stop)[0] for stop in request.all_stop_texts), key=len, default=text)
        for index, word in enumerate(text.split()):
            yield word if index == 0 else f" {word}"
        reason = "length" if len(limited) < len(words) else "stop"
        yield Answer(" ".join(text.split()), self.count_tokens(request), len(text.split()), reason)

    async def astream(self, request, *, timeout=None):
        for piece in self.stream(request):
            yield piece
