#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Synthetic small-talk corpus, all of it written here.

usage: gen_corpus.py SEED COUNT [OUT.jsonl]      one dialogue (list of messages) per line
"""

import json, random, sys

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "England": "London",
    "Ireland": "Dublin",
    "Belgium": "Brussels",
    "Austria": "Vienna",
    "Switzerland": "Bern",
    "Denmark": "Copenhagen",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Finland": "Helsinki",
    "Poland": "Warsaw",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Russia": "Moscow",
    "Ukraine": "Kyiv",
    "Turkey": "Ankara",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Morocco": "Rabat",
    "India": "New Delhi",
    "China": "Beijing",
    "Japan": "Tokyo",
    "Thailand": "Bangkok",
    "Vietnam": "Hanoi",
    "Canada": "Ottawa",
    "Mexico": "Mexico City",
    "Cuba": "Havana",
    "Peru": "Lima",
    "Chile": "Santiago",
    "Brazil": "Brasilia",
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
}
THINGS = {
    "a cat": "A cat is a small animal with soft fur. Many people keep cats at home.",
    "a dog": "A dog is a friendly animal that likes to run and play. It can guard a house.",
    "a bird": "A bird is an animal with feathers and two wings. Most birds can fly.",
    "a fish": "A fish is an animal that lives in water and breathes with gills.",
    "a horse": "A horse is a large, fast animal. People can ride on its back.",
    "a cow": "A cow is a farm animal that eats grass and gives milk.",
    "a bee": "A bee is a small insect that visits flowers and makes honey.",
    "a tree": "A tree is a tall plant with a trunk, branches and leaves.",
    "a flower": "A flower is the bright part of a plant. Many flowers smell sweet.",
    "an apple": "An apple is a round fruit that grows on trees. It can be red, green or yellow.",
    "a banana": "A banana is a long yellow fruit. You peel it before you eat it.",
    "bread": "Bread is a food made from flour and water, baked in an oven.",
    "milk": "Milk is a white drink that comes from cows and other animals.",
    "water": "Water is a clear liquid that every living thing needs to drink.",
    "tea": "Tea is a hot drink made by putting leaves in boiling water.",
    "coffee": "Coffee is a dark, hot drink made from roasted beans.",
    "sugar": "Sugar is a sweet white powder that people put in cakes and drinks.",
    "salt": "Salt is a white powder that makes food taste stronger.",
    "a house": "A house is a building where people live. It has a roof, walls and doors.",
    "a door": "A door is a flat panel that opens and closes the way into a room.",
    "a window": "A window is an opening with glass that lets light into a room.",
    "a table": "A table is a piece of furniture with a flat top and legs.",
    "a chair": "A chair is a seat for one person, with legs and a back.",
    "a bed": "A bed is a soft piece of furniture for sleeping.",
    "a lamp": "A lamp is a thing that gives light when it is dark.",
    "a clock": "A clock is a machine that shows the time.",
    "a book": "A book is a set of pages with words or pictures to read.",
    "a pen": "A pen is a tool for writing with ink.",
    "paper": "Paper is a thin, flat material made from wood. You can write on it.",
    "a car": "A car is a machine with four wheels that carries people on roads.",
    "a train": "A train is a row of wagons that runs on rails.",
    "a bicycle": "A bicycle is a machine with two wheels. You move it with your feet.",
    "a boat": "A boat is a small ship that carries people on the water.",
    "a plane": "A plane is a machine with wings that flies through the air.",
    "a computer": "A computer is a machine that follows instructions and works with numbers "
    "and words.",
    "a phone": "A phone is a device that lets you talk to people who are far away.",
    "a school": "A school is a place where children go to learn.",
    "rain": "Rain is water that falls from the clouds in small drops.",
    "snow": "Snow is frozen water that falls from the sky as white flakes.",
    "the sun": "The sun is a very hot star. It gives the Earth light and warmth.",
    "the moon": "The moon is a ball of rock that goes around the Earth. It shines at night.",
    "a river": "A river is a long stream of water that flows to the sea.",
    "a mountain": "A mountain is a very high piece of land, often with snow on top.",
    "an umbrella": "An umbrella is a round cover on a stick that keeps you dry in the rain.",
}
COLOURS = {
    "the sky": "blue",
    "grass": "green",
    "snow": "white",
    "a banana": "yellow",
    "a tomato": "red",
    "coal": "black",
    "an orange": "orange",
    "milk": "white",
    "a lemon": "yellow",
    "a leaf": "green",
    "blood": "red",
    "the sea": "blue",
    "chocolate": "brown",
    "a carrot": "orange",
    "a strawberry": "red",
    "the night sky": "black",
    "a frog": "green",
    "an elephant": "grey",
    "a pig": "pink",
    "the sun": "yellow",
}
OPPOSITES = [
    ("hot", "cold"),
    ("big", "small"),
    ("up", "down"),
    ("left", "right"),
    ("day", "night"),
    ("fast", "slow"),
    ("happy", "sad"),
    ("open", "closed"),
    ("wet", "dry"),
    ("old", "young"),
    ("hard", "soft"),
    ("light", "dark"),
    ("full", "empty"),
    ("high", "low"),
    ("long", "short"),
    ("early", "late"),
    ("rich", "poor"),
    ("strong", "weak"),
    ("loud", "quiet"),
    ("good", "bad"),
]
SOUNDS = {
    "cat": "meow",
    "dog": "woof",
    "cow": "moo",
    "sheep": "baa",
    "duck": "quack",
    "pig": "oink",
    "horse": "neigh",
    "bee": "buzz",
    "frog": "ribbit",
    "lion": "roar",
    "owl": "hoot",
    "mouse": "squeak",
}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November " "December"
).split()
NUM = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()
NAMES = (
    "Anna Ben Carla David Emma Felix Grace Hugo Ida Jack Kate Leo Maria Nina Oscar Paul Rosa Sam "
    "Tom Vera Will Zoe Lena Max Eva Nora Peter Lucy Mark Julia"
).split()
HOBBY = (
    "reading swimming cooking dancing singing running painting fishing gardening cycling".split()
)
UNKNOWN = [
    "Who won the game last night?",
    "What is the weather today?",
    "What time is it?",
    "How much does gold cost?",
    "Who is the president?",
    "Write a poem about love.",
    "Can you translate this?",
    "What is the meaning of life?",
    "Solve this equation for me.",
    "Tell me the news.",
    "How do I fix my computer?",
    "What is quantum physics?",
    "Write some code for me.",
    "Where is my phone?",
    "Who wrote this song?",
    "What should I eat tonight?",
    "How old is the universe?",
    "Which film should I watch?",
]
HERO = [
    "fox",
    "cat",
    "dog",
    "bear",
    "mouse",
    "rabbit",
    "bird",
    "frog",
    "dragon",
    "robot",
    "girl",
    "boy",
    "king",
    "fish",
    "horse",
    "owl",
]
ADJ = "little brave clever shy kind curious sleepy merry".split()
PLACE = [
    "in a green forest",
    "near a quiet river",
    "on a high mountain",
    "in a small town",
    "by the wide sea",
    "in an old castle",
    "on a sunny farm",
    "under a big tree",
]
LOST = [
    "a red ball",
    "a golden key",
    "a warm hat",
    "a silver bell",
    "a blue kite",
    "a map",
    "a drum",
    "a lamp",
]
HELPER = [
    "an old owl",
    "a friendly bee",
    "a tall horse",
    "a wise turtle",
    "a small mouse",
    "a kind boy",
    "a busy ant",
    "a white goose",
]
FIND = [
    "behind a stone",
    "under the snow",
    "in a hollow log",
    "next to the well",
    "on top of the hill",
    "in the long grass",
]
FEEL = ["happy", "proud", "glad", "full of joy"]
END = [
    "They became good friends.",
    "They went home and had some soup.",
    "They laughed until the moon came up.",
    "From that day on they met every morning.",
    "That night everyone slept well.",
]


def an(w):
    return ("an " if w[0] in "aeiou" else "a ") + w


def polite(r, q):
    """Loosen the way a question is written."""
    k = r.random()
    if q.startswith(
        (
            "Can ",
            "Hello",
            "Hi",
            "Hey",
            "Please",
            "Thank",
            "Good",
            "Bye",
            "See ",
            "I ",
            "Help",
            "Do you",
        )
    ):
        k = 1.0
    if k < 0.10:
        q = "Please tell me: " + q
    elif k < 0.16:
        q = "Hey, " + q[0].lower() + q[1:] if not q.startswith("I ") else q
    elif k < 0.20:
        q = "Can you tell me, " + q[0].lower() + q[1:]
    if r.random() < 0.18 and q[-1] in "?.!":
        q = q[:-1]
    if r.random() < 0.20:
        q = q.lower()
    return q


def capital(r):
    c = r.choice(list(CAPITALS))
    k = CAPITALS[c]
    if r.random() < 0.2:
        q = r.choice(
            [f"{k} is the capital of which country?", f"Which country has {k} as its capital?"]
        )
        return q, f"{k} is the capital of {c}."
    q = r.choice(
        [
            f"What is the capital of {c}?",
            f"What's the capital of {c}?",
            f"Capital of {c}?",
            f"Which city is the capital of {c}?",
            f"Do you know the capital of {c}?",
            f"Tell me the capital of {c}.",
            f"Name the capital city of {c}.",
        ]
    )
    return q, f"The capital of {c} is {k}."


def thing(r):
    t = r.choice(list(THINGS))
    bare = t.split(" ", 1)[1] if t.split(" ")[0] in ("a", "an", "the") else t
    q = r.choice(
        [
            f"What is {t}?",
            f"What is {t}?",
            f"What's {t}?",
            f"Tell me about {t}.",
            f"Explain what {t} is.",
            f"Can you describe {t}?",
            f"What does {bare} mean?",
            f"Do you know what {t} is?",
        ]
    )
    return q, THINGS[t]


def colour(r):
    t = r.choice(list(COLOURS))
    w = r.choice(["colour", "color"])
    q = r.choice(
        [
            f"What {w} is {t}?",
            f"Which {w} does {t} have?",
            f"What is the {w} of {t}?",
            f"Tell me the {w} of {t}.",
        ]
    )
    return q, f"{t[0].upper() + t[1:]} is {COLOURS[t]}."


def sums(r):
    if r.random() < 0.6:
        a = r.randint(0, 20)
        b = r.randint(0, 20 - a)
        c = a + b
        op = ("plus", "+")
    else:
        a = r.randint(0, 20)
        b = r.randint(0, a)
        c = a - b
        op = ("minus", "-")
    if r.random() < 0.4:
        e = f"{NUM[a]} {op[0]} {NUM[b]}"
        ans = f"{NUM[a].capitalize()} {op[0]} {NUM[b]} is {NUM[c]}."
    else:
        e = f"{a} {r.choice(op)} {b}"
        ans = f"{a} {op[0]} {b} is {c}."
    q = r.choice(
        [
            f"What is {e}?",
            f"What is {e}?",
            f"How much is {e}?",
            f"{e} = ?",
            f"Calculate {e}.",
            f"What's {e}?",
            f"Can you add up {e}?" if op[1] == "+" else f"Work out {e}.",
        ]
    )
    return q, ans


def count(r):
    n = r.randint(3, 20)
    if r.random() < 0.3:
        n = r.randint(3, 10)
        q = r.choice(
            [
                f"Count down from {n}.",
                f"Count backwards from {NUM[n]}.",
                f"Please count down from {n}!",
            ]
        )
        return q, ", ".join(str(i) for i in range(n, 0, -1)) + "."
    w = str(n) if r.random() < 0.6 else NUM[n]
    if r.random() < 0.25:
        m = r.randint(1, 19)
        q = r.choice([f"What number comes after {m}?", f"Which number follows {m}?"])
        return q, f"After {m} comes {m + 1}."
    q = r.choice(
        [
            f"Count to {w}.",
            f"Can you count to {w}?",
            f"Please count up to {w}.",
            f"Count from 1 to {w}.",
        ]
    )
    return q, ", ".join(str(i) for i in range(1, n + 1)) + "."


def days(r):
    seq, name = (DAYS, "day") if r.random() < 0.65 else (MONTHS, "month")
    k = r.random()
    if k < 0.15:
        if name == "day":
            q = r.choice(
                [
                    "Name the days of the week.",
                    "What are the days of the week?",
                    "List the days of the week.",
                ]
            )
            return q, "The days of the week are " + ", ".join(DAYS[:-1]) + " and Sunday."
        q = r.choice(["How many months are there in a year?", "How many months does a year have?"])
        return q, "There are twelve months in a year."
    if k < 0.22:
        q = r.choice(["How many days are in a week?", "How many days does a week have?"])
        return q, "There are seven days in a week."
    i = r.randrange(len(seq))
    if r.random() < 0.6:
        q = r.choice(
            [
                f"What {name} comes after {seq[i]}?",
                f"Which {name} follows {seq[i]}?",
                f"What comes after {seq[i]}?",
            ]
        )
        return q, f"After {seq[i]} comes {seq[(i + 1) % len(seq)]}."
    q = r.choice([f"What {name} comes before {seq[i]}?", f"Which {name} is before {seq[i]}?"])
    return q, f"Before {seq[i]} comes {seq[i - 1]}."


def opposite(r):
    a, b = r.choice(OPPOSITES)
    if r.random() < 0.5:
        a, b = b, a
    q = r.choice(
        [
            f"What is the opposite of {a}?",
            f"What's the opposite of {a}?",
            f"Name the opposite of {a}.",
        ]
    )
    return q, f"The opposite of {a} is {b}."


def sound(r):
    a = r.choice(list(SOUNDS))
    q = r.choice(
        [
            f"What sound does a {a} make?" if a != "owl" else "What sound does an owl make?",
            f"What does {an(a)} say?",
        ]
    )
    return q, f"{an(a).capitalize()} says {SOUNDS[a]}."


def story(r, hero=None):
    given = hero or r.choice(HERO)
    adj, place, lost, helper = r.choice(ADJ), r.choice(PLACE), r.choice(LOST), r.choice(HELPER)
    it = lost.split(" ")[-1]
    q = r.choice(
        [
            f"Tell me a story about {an(given)}.",
            f"Tell me a short story about {an(given)}.",
            f"Write a story about {an(given)}.",
            f"Can you tell a story about {an(given)}?",
            f"I want to hear a story about {an(given)}.",
        ]
    )
    if hero is None and r.random() < 0.3:
        q = r.choice(["Tell me a story.", "Tell me a short story.", "Can you tell me a story?"])
    s = [
        f"Once upon a time, {an(adj)} {given} lived {place}.",
        f"One day the {given} lost {lost}.",
        r.choice(
            [
                f"The {given} looked everywhere but could not find the {it}.",
                f"The {given} was very sad and began to cry.",
            ]
        ),
        f'Then {helper} came along and said, "I will help you."',
        f"Together they found the {it} {r.choice(FIND)}.",
        f"The {given} was {r.choice(FEEL)}. {r.choice(END)}",
    ]
    return q, " ".join(s)


def greet(r):
    k = r.random()
    if k < 0.45:
        q = r.choice(
            [
                "Hello",
                "Hello!",
                "Hi",
                "Hi!",
                "Hi there!",
                "Hey",
                "Good morning!",
                "Good evening!",
                "Hello there.",
            ]
        )
        return q, r.choice(["Hello! How can I help you today?", "Hi! What would you like to know?"])
    if k < 0.6:
        q = r.choice(["How are you?", "How are you today?", "How do you do?", "Are you well?"])
        return q, r.choice(["I am fine, thank you. How are you?", "I am very well, thank you!"])
    if k < 0.72:
        q = r.choice(["Thank you!", "Thanks.", "Thanks a lot!", "Thank you very much."])
        return q, "You are welcome!"
    if k < 0.82:
        q = r.choice(["Goodbye!", "Bye!", "See you later.", "Good night!"])
        return q, "Goodbye! Have a nice day."
    if k < 0.92:
        q = r.choice(
            ["Who are you?", "What are you?", "What is your name?", "Tell me about yourself."]
        )
        return q, "I am a very small language model. I was trained to answer simple questions."
    q = r.choice(["What can you do?", "How can you help me?", "Help!", "What do you know?"])
    return q, (
        "I can tell you about everyday things, capitals, colours and days. "
        "I can count, do small sums and tell short stories."
    )


def unknown(r):
    return r.choice(UNKNOWN), "I am sorry, I do not know that. I am only a very small model."


KINDS = [
    (capital, 16),
    (thing, 16),
    (colour, 8),
    (sums, 22),
    (count, 9),
    (days, 9),
    (opposite, 6),
    (sound, 5),
    (story, 8),
    (greet, 10),
    (unknown, 3),
]
FNS, WTS = zip(*KINDS)


def dialogue(r):
    msgs = []
    if r.random() < 0.25:
        msgs.append(
            (
                "system",
                r.choice(
                    [
                        "You are a helpful assistant.",
                        "You are a friendly assistant.",
                        "Answer in short sentences.",
                    ]
                ),
            )
        )
    n = r.choice([1, 1, 1, 2, 2, 3, 4])
    name = None
    for _ in range(n):
        k = r.random()
        if k < 0.07:
            name = r.choice(NAMES)
            msgs.append(
                (
                    "user",
                    r.choice(
                        [
                            f"My name is {name}.",
                            f"I am {name}.",
                            f"Hi, I'm {name}.",
                            f"Call me {name}.",
                        ]
                    ),
                )
            )
            msgs.append(("assistant", f"Nice to meet you, {name}!"))
            for _ in range(r.choice([0, 1, 1, 2, 3])):  # other talk before the name is asked for
                q, a = (r.choice(FNS[:8]))(r)
                msgs += [("user", polite(r, q)), ("assistant", a)]
            msgs.append(
                (
                    "user",
                    r.choice(
                        [
                            "What is my name?",
                            "What's my name?",
                            "Do you remember my name?",
                            "Who am I?",
                        ]
                    ),
                )
            )
            msgs.append(("assistant", f"Your name is {name}."))
        elif k < 0.09:
            h = r.choice(HOBBY)
            msgs.append(("user", r.choice([f"I like {h}.", f"I love {h}.", f"My hobby is {h}."])))
            msgs.append(("assistant", f"That is great! {h.capitalize()} is a lot of fun."))
        else:
            q, a = r.choices(FNS, WTS)[0](r)
            msgs += [("user", polite(r, q)), ("assistant", a)]
    return [dict(role=a, content=b) for a, b in msgs]


def generate(seed, n):
    r = random.Random(seed)
    return [dialogue(r) for _ in range(n)]


if __name__ == "__main__":
    out = open(sys.argv[3], "w") if len(sys.argv) > 3 else sys.stdout
    for d in generate(int(sys.argv[1]), int(sys.argv[2])):
        out.write(json.dumps(d) + "\n")
