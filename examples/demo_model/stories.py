"""Little stories and poems for the demo model: a grammar of beats, filled at random.

A hero with a name, a place, a lost or wanted thing, a helper and a small lesson. The hero's name
and pronouns stay the same through the story, which is what the model has to learn to keep.
"""

ANIMALS = ["fox", "bear", "owl", "cat", "dog", "horse", "whale", "dolphin", "elephant", "lion",
           "penguin", "bee", "butterfly", "frog", "turtle", "rabbit", "wolf", "mouse", "hedgehog"]
PEOPLE = ["girl", "boy", "baker", "sailor", "robot", "teacher", "farmer", "painter", "doctor",
          "gardener", "fisherman", "princess", "clockmaker", "lighthouse keeper"]
NAMES_HE = ["Tom", "Oskar", "Finn", "Bruno", "Leo", "Max", "Pip", "Arlo", "Hugo", "Sam"]
NAMES_SHE = ["Mira", "Lina", "Ada", "Rosa", "Nora", "Ivy", "Clara", "Juna", "Tilda", "Wren"]
ADJECTIVES = ["young", "curious", "brave", "quiet", "clever", "shy", "cheerful", "small", "old",
              "patient"]
PLACES = ["at the edge of a deep forest", "in a village by the sea", "near a quiet lake",
          "in a little house on a hill", "beside an old lighthouse", "in a busy city",
          "on a small green island", "at the foot of a snowy mountain", "next to a warm bakery",
          "on a farm between two rivers"]
WISHES = [("a silver key", "the silver key"), ("a red umbrella", "the red umbrella"),
          ("an old map", "the old map"), ("a golden bell", "the golden bell"),
          ("a small blue stone", "the small blue stone"), ("a letter", "the letter"),
          ("a wooden boat", "the wooden boat"), ("a music box", "the music box"),
          ("a warm lamp", "the warm lamp"), ("a book of songs", "the book of songs")]
GIVERS = ["grandmother", "grandfather", "best friend", "teacher", "neighbor"]
SEARCHES = ["{P} looked under the bridge, behind the barn, and between the roots of the oldest "
            "tree.",
            "{P} asked the wind, the river, and the birds, but nobody had seen it.",
            "{P} walked until the sun went down and the first stars came out.",
            "{P} searched in the tall grass and along the stony shore.",
            "{P} climbed to the top of the hill and looked in every direction."]
FEELINGS = ["{N} was sad and a little afraid.",
            "{N} wanted to give up, but {p} took a deep breath.",
            "{N} felt very alone, and the night was long.",
            "{N} sat down and thought about what to do next."]
MEETINGS = ["Then {p} met {h} named {H}.", "Just then {h} named {H} came along.",
            "On the way {p} met {h} whose name was {H}."]
OFFERS = ['"Do not worry," said {H}. "We will look together."',
          '"I know this place well," said {H}. "Follow me."',
          '"Why are you so sad?" asked {H}, and {N} told the whole story.',
          '"Two pairs of eyes see more than one," said {H} with a smile.']
FINDS = ["Together they found {t} {w}.", "At last they saw {t} {w}.",
         "After a while {H} pointed ahead, and there was {t} {w}."]
SPOTS = ["under a pile of yellow leaves", "at the bottom of a clear pond", "on the highest shelf",
         "in the nest of a magpie", "behind a curtain of green ivy", "in the pocket of an old coat",
         "between two round stones"]
ENDINGS = ["{N} was so happy that {p} danced all the way home.",
           "{N} thanked {H} and invited {H} to a bowl of hot soup.",
           "They laughed, shared a piece of bread, and watched the moon rise.",
           "From that day on {N} and {H} were the best of friends."]
LESSONS = ["{N} had learned that asking for help is not a weakness.",
           "And {N} never forgot that a friend is worth more than any treasure.",
           "That night {N} slept well, because {p} knew that nobody is ever quite alone.",
           "Since then {N} has helped everyone who has lost something.",
           "And if you listen closely in the evening, you can still hear them laugh."]
OPENINGS = ["Once upon a time there was {a} named {N} who lived {l}.",
            "Long ago {a} named {N} lived {l}.",
            "There once was {a} whose name was {N}. {P} lived {l}.",
            "{N} was {a} who lived {l}."]
LOSSES = ["{P} had {o}, a present from {s} {g}, and one day it was gone.",
          "{P} loved {o} more than anything else, but one stormy night it disappeared.",
          "One morning {p} woke up and saw that {o} was missing. It had been a present from "
          "{s} {g}.",
          "{P} had heard of {o} that was hidden nearby, and {p} wanted to find it."]
TITLES = ["{N} and {T}", "The Search", "A Present from a Friend", "The Long Night"]

POEM_LINES = [
    ("The morning light is soft and slow,", "and over the hills the west winds blow."),
    ("The river sings a silver song,", "and carries all our dreams along."),
    ("The stars are bright, the night is deep,", "and all the little houses sleep."),
    ("A gull flies high above the sea,", "as white and quiet as can be."),
    ("The leaves turn red, the leaves turn gold,", "the evening air is clear and cold."),
    ("The snow lies white on roof and tree,", "and makes the world look new to me."),
    ("A lamp is lit, the soup is warm,", "and we are safe from wind and storm."),
    ("The moon looks in and says good night,", "and paints the floor with silver light."),
    ("The bread is fresh, the day is new,", "the grass is wet with morning dew."),
    ("So take my hand and walk with me,", "along the road, beside the sea."),
    ("A friend is like a light at night,", "that makes the longest way feel right."),
    ("The rain is tapping on the pane,", "it sings the garden green again."),
]


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def story(rng, hero=None, length=None):
    """A story of 5 to 11 sentences; `hero` is a noun such as "fox"."""
    he = rng.random() < 0.5
    noun = hero or rng.choice(ANIMALS + PEOPLE)
    if noun in ("girl", "princess"):
        he = False
    if noun in ("boy", "fisherman"):
        he = True
    name, helper = rng.sample(NAMES_HE, 2) if he else rng.sample(NAMES_SHE, 2)
    adjective = rng.choice(ADJECTIVES)
    other = rng.choice([a for a in ANIMALS if a != noun])
    helper_adjective = rng.choice([a for a in ADJECTIVES if a != adjective])
    thing, the_thing = rng.choice(WISHES)
    p = "he" if he else "she"
    slots = {"N": name, "H": helper, "p": p, "P": p.capitalize(), "s": "his" if he else "her",
             "a": article(adjective + " " + noun), "h": article(helper_adjective + " " + other),
             "l": rng.choice(PLACES), "o": thing, "t": the_thing, "g": rng.choice(GIVERS),
             "w": rng.choice(SPOTS), "T": the_thing.title().replace("Of", "of")}
    beats = [OPENINGS, LOSSES, SEARCHES, FEELINGS, MEETINGS, OFFERS, FINDS, ENDINGS, LESSONS]
    length = length or rng.choice(["short", "full", "full"])
    if length == "short":
        beats = [OPENINGS, LOSSES, SEARCHES, MEETINGS, FINDS, ENDINGS]
    sentences = [rng.choice(b).format(**slots) for b in beats]
    if length == "short" or rng.random() < 0.5:
        return " ".join(sentences)
    cut = 3 + (rng.random() < 0.5)
    parts = [" ".join(sentences[:cut]), " ".join(sentences[cut:6]), " ".join(sentences[6:])]
    text = "\n\n".join(parts)
    if rng.random() < 0.3:
        text = rng.choice(TITLES).format(**slots) + "\n\n" + text
    return text


def poem(rng):
    couplets = rng.sample(POEM_LINES, rng.choice([2, 2, 3, 4]))
    lines = [line for couplet in couplets for line in couplet]
    return "\n".join(line[0].upper() + line[1:] for line in lines)
