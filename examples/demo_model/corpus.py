"""The demo model's training text: chats, questions, summaries, stories and plain prose.

Everything comes from topics_*.txt and the templates here and in stories.py; nothing is downloaded.
`document(rng, topics)` returns one text with its ChatML marks; equal seeds give equal texts.
"""

import dataclasses
import pathlib

import stories

FOLDER = pathlib.Path(__file__).parent
SYSTEMS = ["You are a helpful assistant.", "You are a friendly assistant.", "Answer briefly.",
           "You are a helpful assistant. Answer in plain English.", "Be concise.",
           "You are Tandem's demo model.", "You answer questions about the world."]
ABOUT = ["Tell me about {n}.", "Tell me something about {n}.", "What can you tell me about {n}?",
         "Please tell me about {n}.", "Write a few sentences about {n}.", "Describe {n}.",
         "Explain {n}.", "I would like to know more about {n}.", "Can you explain {n} to a child?",
         "What do you know about {n}?", "Give me a short description of {n}.", "{n}",
         "Write a paragraph about {n}.", "Could you say something about {n}?",
         "Explain what {n} {be}.", "Talk to me about {n}.", "Write about {n}."]
WHAT = ["What {be} {n}?", "What {be} {n}?", "What exactly {be} {n}?", "Define {n}.",
        "What does {n} mean?"]
TAGGED = {
    "where": ["Where can I find {n}?", "Where {be} {n}?", "Where do you find {n}?",
              "In which places do we find {n}?"],
    "look": ["What {do} {n} look like?", "How {do} {n} look?", "Describe the look of {n}."],
    "why": ["Why {be} {n} important?", "Why do people like {n}?", "What {be} {n} good for?",
            "Why do we need {n}?", "Why {do} {n} matter?", "Why {be} {n} the way {it} {be}?"],
    "how": ["How {do} {n} work?", "How does it work with {n}?", "Explain how {n} work{s}.",
            "Tell me how it works: {n}.",
            "How {be} {n} made?", "Explain how {n} {be} made."],
    "fact": ["Tell me a fact about {n}.", "What is interesting about {n}?",
             "Do you know a fun fact about {n}?", "Surprise me with a fact about {n}."],
}
SUMMARIZE = ["Summarize: {t}", "Summarize this text: {t}", "Please summarize the following:\n\n{t}",
             "Give me a short summary of this: {t}", "Summarize the following text.\n{t}",
             "TL;DR: {t}", "Sum up this passage in a few sentences: {t}",
             "{t}\n\nSummarize the text."]
STORY = ["Write a short story about {a}.", "Tell me a story about {a}.", "Write a story about {a}.",
         "Can you tell me a story about {a}?", "Please write a little story about {a}.",
         "A story about {a}, please."]
POEM = ["Write a poem about {n}.", "Write a short poem about {n}.", "Can you write a poem?",
        "Please write a little poem about {n}.", "A poem, please."]
UNKNOWN = ["What is {u}?", "Tell me about {u}.", "How do I repair {u}?", "Who invented {u}?",
           "Explain {u}.", "What do you think about {u}?", "Write a program for {u}.",
           "Can you help me with {u}?", "What is the best {u}?", "How much does {u} cost?",
           "Translate {u}.", "Why is {u} so {u}?", "Give me advice about {u}.", "{u} {u} {u}",
           "Please compare {u} and {u}.", "When was {u} built?", "{u}?", "Summarize: {u} {u} {u}.",
           "Extract the {u} from this {u}.", "Is {u} better than {u}?"]
UNKNOWN_WORDS = """democracy gravity football taxes quantum physics a lawnmower Paris Berlin
Napoleon politics a keyboard the president philosophy pizza tennis chemistry a rocket dinosaurs Rome
the stock market fashion astronomy a violin cucumbers Python recursion mathematics a bank insurance
a sandwich electricity the weather tomorrow my homework a dragon the capital of France photography
history law a vacuum cleaner oxygen plastic steel marketing a contract shoes cars engines evolution economy the
internet carbon geometry Shakespeare Mozart the moon landing vitamins pasta knitting chess poker
tourism an index token word value number list item entry record system function paper""".split()
SYLLABLES = ("ba ke lo mi ra su ten vor zan dri fol gu hex jin pla quo ster wim yo tro cal "
             "nex").split()
UNSURE = ["I am a small model, and I do not know much about that.",
          "I am not sure about that, because I only know a few simple things.",
          "That is a good question, but it is too hard for a small model like me.",
          "I have not learned enough about that to give you a good answer."]
OFFER = ["I can tell you about {n} instead.", "But I can tell you something about {n}.",
         "Perhaps you would like to hear about {n}.", "Instead, let me tell you about {n}."]
SMALL_TALK = [
    (["Hello!", "Hi", "Hello, how are you?", "Hey there!", "Good morning!", "hello", "Hello",
      "hi there"],
     ["Hello! What would you like to talk about?",
      "Hi! I am glad that you are here. How can I help?",
      "Good day! You can ask me about animals, places, food, and many other things."]),
    (["Who are you?", "What are you?", "What is your name?", "Introduce yourself."],
     ["I am the small demo model that comes with Tandem. I know a little about nature, places, "
      "people, and things.",
      "I am a very small language model. I can answer simple questions and tell short stories."]),
    (["What can you do?", "How can you help me?", "Help", "What do you know?"],
     ["I can describe animals, places, food, and things. I can also tell short stories, write "
      "little poems, and sum up simple texts.",
      "You can ask me simple questions, for example about the ocean, a bakery, or a fox. I can "
      "also tell you a story."]),
    (["Thank you!", "Thanks", "That was helpful, thank you.", "Great, thanks!"],
     ["You are welcome!", "I am glad that I could help. Is there anything else?",
      "You are welcome. Ask me again at any time."]),
    (["Goodbye!", "Bye", "See you later."], ["Goodbye! Have a nice day.", "See you soon!"]),
    (["How are you?", "How are you today?", "Are you well?"],
     ["I am well, thank you. What would you like to know?",
      "Very well, thank you! Shall I tell you a story?"]),
    (["Say hello.", "Say something.", "Say hi in one sentence.", "Count to three.", "ping", "test"],
     ["Hello! It is a good day to learn something new.",
      "Hello! I am here, and I am listening."]),
]
KIND_PLURAL = {"place": "places", "weather": "kinds of weather", "sky": "things in the sky",
               "plant": "plants", "animal": "animals", "season": "seasons", "thing": "things",
               "food": "kinds of food", "person": "professions", "idea": "ideas"}
KIND_NAME = {"place": "a place", "plant": "a plant", "animal": "an animal", "season": "a season",
             "thing": "a thing that people made", "food": "something to eat or drink"}
CONNECTORS = ["Also, ", "In addition, ", "What is more, "]


@dataclasses.dataclass
class Topic:
    key: str
    name: str
    plural: bool
    other: str
    kind: str
    lines: list  # (tag, sentence)


def load_topics():
    topics = []
    for file in sorted(FOLDER.glob("topics_*.txt")):
        for line in file.read_text().splitlines():
            if line.startswith("@"):
                key, name, number, other, kind = (part.strip() for part in line[1:].split("|"))
                topics.append(Topic(key, name, number == "p", other, kind, []))
            elif line and not line.startswith("#"):
                tag, sentence = line.split(": ", 1)
                topics[-1].lines.append((tag, sentence))
    return topics


def upper_first(text):
    return text[0].upper() + text[1:]


def say(rng, topic, line, pronoun):
    """One sentence with its subject written out, or as a pronoun where it begins the sentence."""
    sentence = line[1]
    front = ""
    if pronoun and sentence.startswith("~ "):
        sentence = ("they" if topic.plural else "it") + sentence[1:]
        if rng.random() < 0.12:
            front = rng.choice(CONNECTORS)
    return upper_first(front + sentence.replace("~", topic.name))


def tell(rng, topic, count, first=None):
    """A definition (or the line `first`) and further sentences, `count` in all."""
    lines = [first or topic.lines[0]]
    rest = [line for line in topic.lines if line is not lines[0]]
    if first:
        rest = rest[1:]
    if rng.random() < 0.5:
        rng.shuffle(rest)
    lines += rest[:count - 1]
    return " ".join(say(rng, topic, line, i > 0 and rng.random() < 0.7)
                    for i, line in enumerate(lines))


def ask(rng, topic, templates):
    """A question; its subject in one of the ways people write it."""
    roll = rng.random()
    name, plural = topic.name, topic.plural
    if roll < 0.15:
        name, plural = topic.other, topic.other.endswith("s") and not topic.other.startswith("a ")
    elif roll < 0.22:
        name = topic.key
    elif roll < 0.28 and not topic.name.startswith("the "):
        name = "the " + topic.key
    text = rng.choice(templates).format(n=name, be="are" if plural else "is",
                                        do="do" if plural else "does",
                                        it="they" if plural else "it", s="" if plural else "s")
    return noise(rng, upper_first(text))


def noise(rng, text):
    """The small differences between people who type."""
    roll = rng.random()
    if roll < 0.06:
        text = text.lower()
    elif roll < 0.12:
        text = text.rstrip(".?")
    elif roll < 0.16:
        text = rng.choice(["Hi! ", "Please answer: ", "Question: ", "Hello, "]) + text
    elif roll < 0.22:
        label = rng.choice(["Item", "Question", "Task", "Request"])
        text = f"{label} {rng.randint(0, 999)}: {text}"
    elif roll < 0.25:
        text = f"{text} (number {rng.randint(0, 999)})"
    return text


def join_names(names):
    if len(names) < 3:
        return " and ".join(names)
    return ", ".join(names[:-1]) + ", and " + names[-1]


def unknown_words(rng):
    count = rng.choice([1, 1, 2, 3, 6])
    words = [rng.choice(UNKNOWN_WORDS) if rng.random() < 0.7 else
             "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 4))) for _ in range(count)]
    return " ".join(words)


def turn(rng, topics):
    """One question, its answer, and the topic it was about (or None)."""
    topic = rng.choice(topics)
    roll = rng.random()
    if roll < 0.24:
        return ask(rng, topic, ABOUT), tell(rng, topic, rng.choice([3, 4, 5, 6, 7])), topic
    if roll < 0.31:
        return ask(rng, topic, WHAT), tell(rng, topic, rng.choice([1, 2, 3, 3, 4])), topic
    if roll < 0.41:
        tag = rng.choice(list(TAGGED))
        line = rng.choice([l for l in topic.lines if l[0] == tag] or topic.lines[:1])
        return ask(rng, topic, TAGGED[tag]), tell(rng, topic, rng.choice([1, 2, 3]), line), topic
    if roll < 0.46:
        wish, count = rng.choice([("in one sentence", 1), ("briefly", 2), ("in two sentences", 2),
                                  ("in three sentences", 3), ("in detail", 7)])
        question = ask(rng, topic, ["Explain {n} ", "Describe {n} ", "Tell me about {n} "]).rstrip()
        return f"{question} {wish}.", tell(rng, topic, count), topic
    if roll < 0.51:
        return multi_topic(rng, topics)
    if roll < 0.60:
        return summary(rng, topics)
    if roll < 0.64:
        count = rng.choice([3, 3, 4, 5])
        words = {3: "three", 4: "four", 5: "five"}[count]
        question = ask(rng, topic, [f"List {words} facts about {{n}}.",
                                    f"Give me {words} facts about {{n}}.",
                                    f"Name {count} things about {{n}}."])
        lines = rng.sample(topic.lines[1:], count)
        return question, "\n".join(f"{i + 1}. {say(rng, topic, l, False)}"
                                   for i, l in enumerate(lines)), topic
    if roll < 0.67:
        return kinds(rng, topics)
    if roll < 0.79:
        hero = rng.choice(stories.ANIMALS + stories.PEOPLE) if rng.random() < 0.8 else None
        about = stories.article(hero) if hero else rng.choice([topic.name, "something nice"])
        length = rng.choice(["short", "full"])
        return noise(rng, rng.choice(STORY).format(a=about)), stories.story(rng, hero, length), None
    if roll < 0.82:
        return noise(rng, rng.choice(POEM).format(n=topic.name)), stories.poem(rng), None
    if roll < 0.93:
        question = rng.choice(UNKNOWN)
        while "{u}" in question:
            question = question.replace("{u}", unknown_words(rng), 1)
        answer = (rng.choice(UNSURE) + " " + rng.choice(OFFER).format(n=topic.name) + " " +
                  tell(rng, topic, rng.choice([1, 2, 3])))
        return noise(rng, upper_first(question)), answer, topic
    questions, answers = rng.choice(SMALL_TALK)
    return noise(rng, rng.choice(questions)), rng.choice(answers), None


def multi_topic(rng, topics):
    chosen = rng.sample(topics, rng.choice([2, 2, 3]))
    names = join_names([t.name for t in chosen])
    if len(chosen) == 2 and rng.random() < 0.5:
        question = rng.choice(["What is the difference between {n}?", "Compare {n}."])
        answer = " ".join(tell(rng, t, 2) for t in chosen)
        a, b = chosen
        if a.kind == b.kind and a.kind in KIND_PLURAL:
            answer += f" Both of them belong to the {KIND_PLURAL[a.kind]} that I know."
    else:
        question = rng.choice(["Tell me about {n}.", "Write a paragraph about each of these: {n}.",
                               "Explain {n}.", "What do you know about {n}?"])
        answer = "\n\n".join(tell(rng, t, rng.choice([2, 3])) for t in chosen)
    return noise(rng, question.format(n=names)), answer, None


def summary(rng, topics):
    """A passage about one to three topics, and the definition of each, with its reason if one."""
    chosen = rng.sample(topics, rng.choice([1, 1, 2, 3]))
    passage = " ".join(tell(rng, t, rng.choice([3, 4, 5]) if len(chosen) == 1 else 2)
                       for t in chosen)
    if rng.random() < 0.15:
        passage = "\n".join(passage.split(". "))
    names = join_names([t.name for t in chosen])
    opening = rng.choice([f"The text is about {names}.", f"In short, the text talks about {names}.",
                          f"This passage describes {names}."])
    parts = [say(rng, t, t.lines[0], False) for t in chosen]
    if len(chosen) == 1:
        reason = [l for l in chosen[0].lines if l[0] == "why"][0]
        parts.append(say(rng, chosen[0], reason, True))
    return rng.choice(SUMMARIZE).format(t=passage), opening + " " + " ".join(parts), chosen[-1]


def kinds(rng, topics):
    kind = rng.choice(list(KIND_NAME))
    members = [t for t in topics if t.kind == kind]
    if len(members) >= 3 and rng.random() < 0.5:
        chosen = rng.sample(members, 3)
        question = rng.choice(["Name three {k}.", "Which {k} do you know?", "List some {k}."])
        names = join_names([t.name for t in chosen])
        answer = f"I know many {KIND_PLURAL[kind]}, for example {names}."
        return noise(rng, question.format(k=KIND_PLURAL[kind])), answer, None
    topic = rng.choice([t for t in topics if t.kind in KIND_NAME])
    be = "Are" if topic.plural else "Is"
    question = f"{be} {topic.name} {KIND_NAME[kind]}?"
    first = "Yes." if topic.kind == kind else "No."
    return noise(rng, question), first + " " + tell(rng, topic, rng.choice([1, 2])), topic


def document(rng, topics):
    """One training text: mostly a chat, now and then plain prose."""
    if rng.random() < 0.14:
        if rng.random() < 0.5:
            return stories.story(rng) + "<|endoftext|>"
        chosen = rng.sample(topics, rng.choice([1, 2]))
        return "\n\n".join(tell(rng, t, rng.choice([3, 5, 7])) for t in chosen) + "<|endoftext|>"
    text = ""
    if rng.random() < 0.45:
        text += f"<|im_start|>system\n{rng.choice(SYSTEMS)}<|im_end|>\n"
    topic = None
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        if topic and rng.random() < 0.35:
            lines = rng.sample(topic.lines[1:], 3)
            question = rng.choice(["Tell me more.", "What else?", "Go on.",
                                   "Can you tell me more about that?",
                                   "More, please."])
            answer = " ".join(say(rng, topic, l, i > 0) for i, l in enumerate(lines))
        else:
            question, answer, topic = turn(rng, topics)
        text += (f"<|im_start|>user\n{question}<|im_end|>\n"
                 f"<|im_start|>assistant\n{answer}<|im_end|>\n")
    return text + "<|endoftext|>"
