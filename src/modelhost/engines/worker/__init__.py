"""What runs in the worker processes that are written in Python.

All of them use :mod:`.process`, the worker's side of the protocol with the host. Those that serve HTTP themselves use
:mod:`.asgi` and :mod:`.server`, those with a server as a child :mod:`.child_server`. :mod:`.foreign_start` starts a
worker in the Python of an engine's own environment.

The rest is the worker around an engine that is a Python library: everything but the library's arithmetic. The engine
loads a model and gives two things (:mod:`.library`): the scores of the next token after a prompt, and those after one
more token for each conversation of a batch. The rest is here, once, so that such engines behave alike:

* :mod:`.serving` starts it: the library in one thread (:mod:`.batcher`), HTTP in the other (:mod:`.app`);
* :mod:`.requests` reads a request, :mod:`.template` renders its conversation, :mod:`.text` tokenizes that,
  :mod:`.grammars` makes what the answer has to follow, :mod:`.sampling` chooses tokens;
* :mod:`.prefixes` keeps the caches of finished conversations for those that continue them;
* :mod:`.reader` divides an answer into reasoning, text and tool calls, :mod:`.events` writes these as OpenAI's events.

Numpy and llguidance come with the extras of the engines. What needs neither is also used by the worker of mistral.rs,
which chooses tokens itself.
"""
