"""The forms in which models write tool calls: read while they are written, and as grammars of a call that is required.

:mod:`.forms` is the table of forms: how to recognise one by the chat template, and its kind (:mod:`.objects`,
:mod:`.tagged`, :mod:`.python`, :mod:`.gemma`, :mod:`.channels`). :mod:`.calls` is what the kinds have in common,
:mod:`.grammar` the parts of their grammars, :mod:`.history` the calls of a conversation as templates take them.
"""
