"""Pools of words: one set to learn from and a disjoint one to be tested on.

Half of the names and nouns in the dialogues are invented, so that a word must be copied and cannot be remembered.
"""

import random
import string
from dataclasses import dataclass, field

NAMES = """Alice Bob Carol David Emma Frank Grace Henry Iris Jack Karen Liam Maria Noah Olivia Peter Quinn Rosa Samuel Tina
Umar Vera Walter Xenia Yusuf Zoe Anna Ben Clara Daniel Elena Felix George Hannah Ivan Julia Kevin Laura Marco Nina Oscar Paula
Robert Sara Thomas Ulla Victor Wendy Adam Bella Chris Diana Eric Fiona Gustav Helen Igor Jane Karl Linda Michael Nora Omar
Petra Ralf Susan Tom Ursula Viktor John Mary José Zoë René Marie Lukas Paul Max Sam Mia Leo Ella Ada Alan""".split()
NEW_NAMES = """Bruno Celia Dmitri Edith Fabio Greta Hugo Ingrid Jonas Katya Lorenzo Milena Nigel Odette Pablo Renata Stefan
Tamara Valentin Wanda Yannick Zelda Amir Beatrice Cedric Doris Emil Freya Gideon Hilda""".split()
CITIES = """Paris London Berlin Tokyo Madrid Rome Lisbon Vienna Prague Oslo Stockholm Helsinki Dublin Athens Warsaw Budapest
Cairo Nairobi Lagos Delhi Mumbai Beijing Shanghai Seoul Sydney Toronto Boston Chicago Denver Seattle Miami Lima Bogota Zurich
Geneva Munich Hamburg Milan Naples Lyon Porto Kyoto Osaka Singapore Bangkok Jakarta Moscow Istanbul Dubai Amsterdam Brussels
Copenhagen Edinburgh""".split() + ["New York", "San Francisco", "Los Angeles", "Hong Kong", "Mexico City", "Cape Town"]
NEW_CITIES = """Valencia Marseille Gdansk Tallinn Riga Vilnius Bergen Turin Seville Graz Basel Dresden Leipzig Nagoya Busan
Perth Brisbane Ottawa Austin Portland Quito Havana Manila Hanoi Accra Tunis""".split() + ["Buenos Aires", "Abu Dhabi"]
NOUNS = """invoice ticket order report contact document note recipe song movie book photo image video playlist album file folder
branch commit issue task project meeting event reminder alarm timer calendar account balance payment refund receipt coupon
price stock product item cart shipment package parcel address route map traffic flight hotel room table ticket seat train bus
car taxi bike weather forecast temperature humidity rainfall wind tide moon sunrise word definition synonym translation rhyme
sentence poem story joke quote fact article headline news score match player team league recipe menu meal drink coffee
pizza salad lamp light heater fan door window lock camera sensor printer server database table row column backup log metric
container image volume network user group role password token key secret message email letter comment post tweet channel
thread poll survey form page site domain link bookmark tag label color font logo chart graph formula equation sum product
root distance area volume speed weight height age birthday holiday vacation salary budget expense tax loan interest currency
exchange patient doctor medicine dose symptom allergy garden plant flower tree seed animal bird fish dog cat horse planet
star river mountain lake island museum castle bridge tower school course lesson exam grade student teacher library""".split()
NEW_NOUNS = """warehouse voucher passport visa ferry harbor blender oven carpet curtain mirror candle guitar violin drum
concert theater ballet sculpture paint brush pencil notebook stapler scanner router modem battery charger cable antenna
satellite rocket engine tractor barn meadow orchard vineyard cellar cheese butter honey pepper spice lantern compass anchor
tent blanket pillow scarf glove helmet ladder hammer wrench""".split()
# Verbs in groups of near-synonyms. A request may use another verb of the group than the tool's name does.
VERBS = [group.split() for group in """get fetch show find|search query browse|create make add new|delete remove erase|update
change edit modify|send deliver|list enumerate|open launch|close shut|start begin run|stop end halt|book reserve|cancel
revoke|convert transform|translate|calculate compute|check verify test|download pull|upload push|copy duplicate|move
transfer|rename|print|play|pause|share publish|lock|unlock|count|sort order|merge join|split|install|export|import|save store|
load restore|buy purchase|sell|order|pay|track follow|measure|estimate|rate review|describe explain|summarize|approve|reject|
schedule plan|assign|invite|register|scan|clean clear|repair fix|reset|paint draw|record|read|write|mute|turn""".replace(
    "\n", " ").split("|")]
NEW_VERBS = [group.split() for group in """archive shelve|polish|inspect examine|rotate spin|compress shrink|deploy ship|
water|charge|label mark|collect gather|donate|rent hire|wrap|freeze|heat warm|encrypt|mix blend|praise|forward relay""".replace(
    "\n", " ").split("|")]
PARAMETERS = """name title text query id number amount count size color date time city country language code path url email
address user target source destination format limit level status category type topic subject body message key value width
height start end from to unit price quantity reason note tag label group owner priority duration speed volume mode city_name
start_date end_date user_id order_id file_name max_results phone_number due_date first_name last_name account_id
zip_code""".split()
NEW_PARAMETERS = """weight depth angle score rank region district season flavor brand model_name serial_number check_in check_out
seat_number page_size target_language room_type alias host port token_id batch radius floor shelf""".split()
WORDS = """the red blue green old new small big quiet loud happy sad slow quick bright dark warm cold sweet bitter round flat
soft hard early late apple orange lemon cherry bread cheese river stone forest cloud storm summer winter morning evening
music dance dream garden window table chair paper pencil silver golden wooden paper glass iron copper wolf fox bear eagle
tiger rabbit turtle dolphin market station village castle island harbor coffee tea milk sugar salt pepper we go they are
not is my home today tomorrow see you soon good luck have fun thank meet at noon in on with for and buy some please call
back later bring your dinner ready lunch meeting moved to room door open closed train late don't it's you're""".split()
NEW_WORDS = """purple crimson gentle brave clever lazy shiny dusty hollow velvet marble pebble canyon valley breeze thunder
autumn spring midnight dawn melody rhythm whisper shadow lantern kettle basket ribbon button falcon badger otter panther
walnut almond ginger saffron pumpkin mango papaya we will arrive before the parade begins near old mill tonight""".split()

ONSETS = "b c d f g h j k l m n p r s t v w z br cr dr fl gr kl pl pr sk sl sn st str th tr bl gl sh ch qu x y".split()
VOWELS = "a e i o u a e i o u ai ea ee oo ou ie y".split()
CODAS = ["", "", "", *"b d f g k l m n p r s t x z ck ll nd nt rk rm st sh ng mp".split()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """The words that one kind of dialogue (training or held-out) may use."""

    is_test: bool
    names: list[str]
    cities: list[str]
    nouns: list[str]
    verbs: list[list[str]]
    parameters: list[str]
    words: list[str]
    made_up: float = field(default=0.5)


TRAINING = Pools(is_test=False, names=NAMES, cities=CITIES, nouns=sorted(set(NOUNS)), verbs=VERBS, parameters=PARAMETERS,
                 words=sorted(set(WORDS)))
HELD_OUT = Pools(is_test=True, names=NEW_NAMES, cities=NEW_CITIES, nouns=sorted(set(NEW_NOUNS) - set(NOUNS)), verbs=NEW_VERBS,
                 parameters=NEW_PARAMETERS, words=sorted(set(NEW_WORDS)))


def invented(rng: random.Random, pools: Pools) -> str:
    """A pronounceable word that is in no dictionary. The two pools never share one: a checksum of the letters decides."""
    while True:
        parts = [rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice((1, 1, 2, 2, 2)))]
        word = "".join(parts)
        if rng.random() < 0.12:
            word = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 7)))
        if len(word) >= 3 and (sum(word.encode()) % 8 == 0) == pools.is_test:
            return word


def pick(rng: random.Random, pools: Pools, words: list[str]) -> str:
    """A word of the list, or an invented one as often as `pools.made_up` says."""
    return invented(rng, pools) if rng.random() < pools.made_up else rng.choice(words)
