"""Talk without tools: greetings, what the model is, memory of the dialogue, repetition, honest ignorance."""

import random
from dataclasses import dataclass

from training.values import NUMBERS, city, number, person, phrase, value
from training.words import Pools, pick

UNKNOWN = "I do not know that. I am only a tiny demonstration model."
NO_TOOL = "None of my tools can do that."
NOT_TOLD = "You have not told me that."
IDENTITY = "I am modelhost-nano, a tiny demonstration model."
ABILITY = "I can chat a little, remember what you tell me, repeat a phrase and call tools."
HELLO = "Hello! How can I help you?"

SMALL_TALK = {
    HELLO: """Hello!|Hello|Hi|Hi!|Hey|Hey there|Good morning|Good evening|Good afternoon|hello|hi there|Hello there!|Hi, how
 is it going?|Greetings|Good day|hey!|Hello, nano!|Hello!!|Hello world""",
    "I am fine, thank you! How can I help you?": "How are you?|How are you doing?|How do you do?|How are you today?|Are you OK?|how are you",
    "You are welcome!": "Thanks|Thank you|Thank you!|Thanks a lot|Thanks!|thank you very much|Great, thanks!|Thx|Perfect, thank you.",
    "Goodbye!": "Bye|Goodbye|Bye!|See you|See you later|Good night|See you tomorrow!|Goodbye!|bye bye",
    IDENTITY: """Who are you?|What are you?|What is your name?|Who am I talking to?|Introduce yourself|Tell me about yourself|who are
 you|What's your name?|What model are you?|Which model is this?|Are you a human?|Are you a robot?|Are you ChatGPT?|Are you GPT-4?|Are
 you Claude?|Who made you?|What is modelhost-nano?|Are you an AI?|Do you have a name?|Which model are you?|Please introduce yourself.""",
    ABILITY: """What can you do?|What are you good at?|How can you help me?|Help|help|What can I ask you?|Can you help me?|What do you
 do?|What are your skills?|I need help|Help me|What can you do for me?|can you help""",
    "modelhost is a program that hosts language models and tools on your own machine.": """What is modelhost?|Tell me about
 modelhost|What does modelhost do?|Explain modelhost|what is modelhost|What is modelhost for?|Describe modelhost.""",
    "Sure! What would you like to know?": "Can I ask you a question?|I have a question|May I ask something?|Let me ask you something|Can I ask something?",
    "I am glad to hear that!": "I am happy|That is great|Great!|I had a good day|Nice!|Wonderful|Cool|Awesome|That is good news|I feel good today",
    "I am sorry to hear that.": "I am sad|I had a bad day|I feel bad|I am tired|I am sick|This is terrible|I feel sad today|I am bored",
    "All right! How can I help you?": "OK|Ok|ok|Yes|No|Alright|Sure|Fine|I see|Got it|Okay|okay|Hmm|Yes please|No thanks|All right",
    "No problem!": "Sorry|I am sorry|My mistake|Oops|Sorry about that|Never mind|I apologize",
    "Yes, I am here.": "Are you there?|Are you still there?|Test|test|Testing|Can you hear me?|ping|Are you awake?|This is a test",
    "Thank you!": "You are nice|Good job|Well done|You are great|Good work|You are smart|I like you|Well done!",
    "I am only a tiny demonstration model, so I can be wrong.": """Are you smart?|Can I trust you?|Are you always right?|Are you
 intelligent?|How smart are you?|Do you make mistakes?|How good are you?|Is that true?|Are you sure?""",
}  # fmt: skip
SMALL_TALK = {answer: [a.replace("\n", "") for a in asked.split("|")] for answer, asked in SMALL_TALK.items()}

SYSTEMS = """You are a helpful assistant.|You are a helpful assistant|Be brief.|Answer in one sentence.|You are an assistant with
 tools.|You help people.|Use the tools when they help.|Be polite.|You are a friendly assistant. Keep it short.|Be concise and
 honest.|You are a careful assistant that calls functions.|Answer the user.|You are an AI assistant.|Always be kind.""".replace(
    "\n", "").split("|")

QUESTIONS = """What is the {n} of {c}?|Who invented the {n}?|Why is the {n} {w}?|When was the {n} invented?|Who is the president of {c}?|How
 many {n}s are in {c}?|What is the best {n} in {c}?|Who wrote "{p}"?|What is the meaning of {w}?|How does a {n} work?|Where can I
 find a {n}?|How tall is the {n} in {c}?|What is a {n}?|Why do {n}s exist?|Explain {w} {n}s|What is the capital of {c}?|Who won the {n} in
 {y}?|What happened in {y}?|Is {c} bigger than {d}?|Which {n} is the {w}est?|What is {w}?|Tell me about {c}|Who is {m}?|How do I make a
 {n}?|What do you think of {w} {n}s?|Do you know the {n} of {m}?|How old is {m}?|When does the {n} open?""".replace("\n", "").split("|")
# Asked only where no tools are listed, since a tool may well answer them.
PLAIN = """What is {a} + {b}?|How much is {a} times {b}?|What time is it?|What is the weather in {c}?|What day is it?|What is {a} plus {b}?|How
 old are you?|Where do you live?|Do you like {n}s?|What is your favorite {n}?|What is the time in {c}?|Add {a} and {b}|Do you have
 a {n}?|Can you write code?|Can you speak {c}?|What do you think?|Who is your friend?|What is {a} - {b}?|Weather in {c}|Send an email to
 {m}|Search for {p}|Read the file {w}.txt|What is the news?|Translate "{p}" to French|Tell me a joke|Tell me a story|Write a poem|Write a
 haiku about the {n}|What is love?|What is the meaning of life?|Why is the sky blue?""".replace("\n", "").split("|")
TASKS = """Write a {n} about {w} {n2}s|Write a poem about {c}|Write Python code for a {n}|Tell me a story about {m}|Draw a {n}|Book a {n} in
 {c}|Order a {w} {n}|Call {m}|Buy a {n}|Summarize the {n}|Solve this {n}: {w}|Compose a {n}|Plan my trip to {c}|Write an essay about the
 {n}|Translate the {n}|Recommend a {n}|Fix my {n}|Tell me a joke|Sing a song|Cook a {n}""".replace("\n", "").split("|")



@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A user's turn and the reply to it."""

    user: str
    reply: str


def small_talk(rng: random.Random) -> Exchange:
    reply = rng.choice(list(SMALL_TALK))
    return Exchange(user=rng.choice(SMALL_TALK[reply]), reply=reply)


def greeting(rng: random.Random, pools: Pools) -> Exchange:
    """A hello to the model or to somebody else."""
    if rng.random() < 0.5:
        return Exchange(user=rng.choice(SMALL_TALK[HELLO]), reply=HELLO)
    who = person(rng, pools)
    user = rng.choice(("Say hello to {}", "Say hi to {}", "Please say hello to {}.", "Greet {}", "Can you say hello to {}?",
                       "say hello to {}", "Say hello to {}!", "Say hello to my friend {}"))
    return Exchange(user=user.format(who), reply=f"Hello, {who}!")


def identity(rng: random.Random) -> Exchange:
    reply = rng.choice((IDENTITY, IDENTITY, ABILITY, "modelhost is a program that hosts language models and tools on your own machine."))
    return Exchange(user=rng.choice(SMALL_TALK[reply]), reply=reply)


def unknown(rng: random.Random, pools: Pools, with_tools: bool = False) -> Exchange:
    """A question beyond the model. Without tools it says what it is; with tools it says that none fits."""
    form = rng.choice(QUESTIONS if rng.random() < 0.7 else TASKS)
    if not with_tools and rng.random() < 0.35:
        form = rng.choice(PLAIN)
    user = form.format(
        n=pick(rng, pools, pools.nouns), n2=pick(rng, pools, pools.nouns), c=city(rng, pools), d=city(rng, pools),
        w=pick(rng, pools, pools.words), p=phrase(rng, pools), y=rng.randint(1800, 2030), m=person(rng, pools),
        a=abs(number(rng)), b=abs(number(rng)),
    )  # fmt: skip
    return Exchange(user=user, reply=NO_TOOL if with_tools else UNKNOWN)


def repeat(rng: random.Random, pools: Pools) -> Exchange:
    """A phrase to be said again, as it is."""
    kind = rng.choice(("phrase", "phrase", "phrase", "word", "code", "url", "email", "number", "path"))
    text = phrase(rng, pools, 6) if kind == "phrase" else value(rng, pools, kind).text
    form = rng.choice(('Repeat "{}"', "Repeat: {}", "Repeat after me: {}", 'Say "{}"', "Say {}", "Please repeat: {}", "Repeat {}",
                       'Say this: "{}"', "Say: {}", "Repeat the words {}", 'Please say "{}".', "repeat {}", "Repeat this: {}",
                       "Say the words {}", 'Can you repeat "{}"?', 'Repeat the phrase "{}".', "Reply with {}", "Reply with: {}",
                       'Answer only "{}"', 'Respond with "{}"'))
    return Exchange(user=form.format(text), reply=text)


def count(rng: random.Random) -> Exchange:
    n = rng.randint(2, 20) if rng.random() < 0.5 else rng.randint(2, 10)
    word = rng.choice((NUMBERS[n - 1], str(n)))
    form = rng.choice(("Count to {}", "Count to {}.", "Please count to {}", "Count from 1 to {}", "Can you count to {}?",
                       "count to {}", "Count up to {}", "Count from one to {}"))
    return Exchange(user=form.format(word), reply=", ".join(map(str, range(1, n + 1))) + ".")


def introduction(rng: random.Random, pools: Pools) -> tuple[Exchange, Exchange]:
    """A name told, and asked for later."""
    who = person(rng, pools)
    told = rng.choice(("My name is {}", "My name is {}.", "I am {}.", "Hi, I am {}", "Hello, my name is {}.", "I'm {}", "Call me {}.",
                       "Hello! My name is {}!", "Hi! I'm {}.", "my name is {}", "You can call me {}."))
    asked = rng.choice(("What is my name?", "What's my name?", "Who am I?", "Do you know my name?", "Do you remember my name?",
                        "Tell me my name", "what is my name", "Can you tell me my name?", "Say my name"))
    return Exchange(user=told.format(who), reply=f"Nice to meet you, {who}!"), Exchange(user=asked, reply=f"Your name is {who}.")


def fact(rng: random.Random, pools: Pools) -> tuple[Exchange, Exchange]:
    """A fact told, and asked for later."""
    form = rng.random()
    place, n, who = city(rng, pools), abs(number(rng)) % 100, person(rng, pools)
    thing = pick(rng, pools, pools.nouns)
    if form < 0.55:
        kind = rng.choice(("word", "word", "person", "city", "number", "code"))
        text = value(rng, pools, kind).text
        topic = rng.choice((thing, f"favorite {thing}", f"favourite {rng.choice(('color', 'colour', 'food', 'city', 'word', thing))}"))
        told, asked, reply = f"My {topic} is {text}", f"What is my {topic}?", f"Your {topic} is {text}."
    elif form < 0.68:
        told, asked, reply = f"I live in {place}", "Where do I live?", f"You live in {place}."
    elif form < 0.78:
        told, asked, reply = f"I am {n} years old", "How old am I?", f"You are {n} years old."
    elif form < 0.9:
        told, asked, reply = f"My {thing} is called {who}", f"What is my {thing} called?", f"Your {thing} is called {who}."
    else:
        told, asked, reply = f"I like {thing}s", "What do I like?", f"You like {thing}s."
    told = rng.choice(("{}", "{}.", "{}.", "Remember: {}", "Remember that {}", "{}!")).format(told)
    return Exchange(user=told, reply="I will remember that."), Exchange(user=asked, reply=reply)


def not_told(rng: random.Random, pools: Pools) -> Exchange:
    """A question about the user that nothing in the dialogue answers."""
    thing = pick(rng, pools, pools.nouns)
    asked = ("What is my name?", "Where do I live?", "How old am I?", f"What is my {thing}?", f"What is my {thing} called?",
             "What do I like?", f"What is my favorite {thing}?", "Who am I?", "What's my name?")
    return Exchange(user=rng.choice(asked), reply=NOT_TOLD)
