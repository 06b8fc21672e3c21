"""The worker around an engine that is a Python library: everything but the library's arithmetic.

The engine loads a model and gives two things (:mod:`.library`): the scores of the next token after a prompt, and those
after one more token for each conversation of a batch. The rest is here, once, so that such engines behave alike:

* :mod:`.serving` starts it: the library in one thread (:mod:`.batcher`), HTTP in the other (:mod:`.routes` and
  :mod:`.app`).
* :mod:`.asked` reads a request, :mod:`.template` renders its conversation (its calls as :mod:`.called` has them),
  :mod:`.contents` keeps what users and tools write from becoming special tokens,
  :mod:`.grammars` makes what its answer has to follow, :mod:`.sampling` chooses tokens.
* :mod:`.prefixes` keeps the caches of finished conversations for those that continue them.
* :mod:`.tool_format` is the table of the forms in which models write tool calls: how a template tells, and of which
  kind they are (:mod:`.object_calls`, :mod:`.tagged_calls`, :mod:`.python_calls`, :mod:`.gemma_calls`). Each kind
  reads its calls while they are written (:mod:`.calls`), and makes the grammar of one that is demanded
  (:mod:`.call_rules`).
* :mod:`.text`, :mod:`.stops` and :mod:`.reader` turn tokens into text, reasoning and tool calls;
  :mod:`.chunks` and :mod:`.events` write them as OpenAI's events.

Only worker processes import this package's modules beside :mod:`.dialect`, :mod:`.params` and :mod:`.recipe`, which are
the host's side, :mod:`.tool_format`, whose names are those of an option, and :mod:`.answer_marks`, which are no control
tokens of contents. Numpy and llguidance come with the extras of the engines. What needs neither is also used by the
worker of mistral.rs, which chooses tokens itself.
"""
