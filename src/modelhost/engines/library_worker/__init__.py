"""The worker around an engine that is a Python library: everything but the library's arithmetic.

The engine loads a model and gives two things (:mod:`.library`): the scores of the next token after a prompt, and those
after one more token for each conversation of a batch. The rest is here, once, so that such engines behave alike:

* :mod:`.serving` starts it: the library in one thread (:mod:`.batcher`), HTTP in the other (:mod:`.routes` and
  :mod:`.app`).
* :mod:`.asked` reads a request, :mod:`.template` renders its conversation, :mod:`.grammars` and :mod:`.tool_format`
  make what its answer has to follow, :mod:`.sampling` chooses tokens.
* :mod:`.prefixes` keeps the caches of finished conversations for those that continue them.
* :mod:`.text`, :mod:`.stops`, :mod:`.reader` and :mod:`.calls` turn tokens into text, reasoning and tool calls;
  :mod:`.chunks` and :mod:`.events` write them as OpenAI's events.

Only worker processes import this package's modules beside :mod:`.dialect`, :mod:`.params` and :mod:`.recipe`, which are
the host's side. Numpy and llguidance come with the extras of the engines. What needs neither is also used by the worker
of mistral.rs, which chooses tokens itself.
"""
