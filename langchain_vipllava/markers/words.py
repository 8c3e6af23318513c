"""English words around a region's name in a question: which of them are nouns, and which are not.

The lists are closed classes (determiners, prepositions, pronouns, auxiliaries) and, of verbs and adjectives, those that
questions about images use. Chosen: those in the sentences of tests/workspace/references.json, and their neighbors. A
word of no list is taken for a noun after a determiner, and for a command at the beginning of a sentence.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    "the a an this that these those each every another either neither which what whose my your his her its our "
    "their some any no both all one two three four five six seven eight nine ten several many few other same"
)

RELATIVES = _words("which what that whose one all both some any other same")
"""Determiners that are pronouns too: behind them, a verb is a verb."""

FUNCTION_WORDS = _words(
    "of in on at by to from with without within inside into onto over under above below beneath beside besides "
    "between behind before after near nearby next against across along around about among amid beyond despite "
    "during except for like unlike off out outside past per since than through throughout toward towards until up "
    "upon via versus vs vs. and or but nor yet so if then else because while when where why how whether as "
    "although though is are was were be been being am do does did doing done has have had having can could will "
    "would shall should may might must isn't aren't wasn't weren't doesn't don't didn't can't couldn't won't "
    "hasn't haven't i you he she it we they me him us them who whom whose mine yours ours theirs myself yourself "
    "itself themselves not also only just even still already again once too very more most less least much quite "
    "rather really almost here there now please ok okay yes no first second third finally next last what's who's "
    "it's that's there's left right top bottom front back opposite relative compared respect regarding concerning "
    "re detail details brief short general particular english words turn contrast comparison terms json full "
    "anything something nothing everything anyone someone nobody everybody what which that this these those"
)

FOREIGN = _words(
    "ist sind es est sont son \u00e9 \u00e8 et und y e de del du des la le les el los der die das den dem von zu mit"
)
"""Function words of other languages: their nouns are not known, and they are none."""

FOREIGN_ARTICLES = _words("el los las le les der das den dem la un una une ein eine il lo um uma o os as het een")
"""Articles of other languages: the word behind one is a noun."""

FOREIGN_ONLY = _words(
    "ist sind est son \u00e8 et del el los las der das dem von zu mit hay qu\u00e9 que "
    "cu\u00e1l c\u00f3mo en es "
    "quelle quel dans sur qui welche welcher wer wo wie und auf im qual "
    "\u0447\u0442\u043e \u0442\u0430\u043a\u043e\u0435 "
    "\u0432 \u0438 qu'est-ce c'est beschreibe d\u00e9cris d\u00e9crivez"
)
"""Words that are of another language in any sentence."""

BEFORE_VERBS = _words("i you he she we they to can could will would shall should may might must please let's not")
"""Words behind which a verb stands."""

COMPARATIVES = _words(
    "larger bigger smaller taller shorter longer wider narrower thinner thicker higher lower nearer closer farther "
    "further darker lighter brighter older younger newer heavier faster slower better worse warmer colder sharper"
)

VERBS = _words(
    "describe compare identify list count read transcribe name tell explain look focus examine inspect analyze "
    "analyse check see find locate show classify estimate determine recognize recognise summarize consider "
    "mention contain give say answer judge evaluate rate rank sort detect verify confirm decide assess observe "
    "view translate extract report spot note hold touch face cover overlap resemble match wear ride point block "
    "cross reach carry support press push pull lift throw catch kick hit eat drink feed bite lick smell hug kiss "
    "hide occlude obscure intersect enclose surround include exclude fit follow lead chase pass meet join connect "
    "attach belong equal exceed lie sit stand lean hang rest float fly run walk jump sleep lay use operate drive "
    "steer control cut open close fill pour serve cook cast reflect mirror shade light illuminate represent "
    "depict mean differ share have own get take make put keep need want seem appear become remain stay move "
    "approach leave enter watch greet call hand pet play repeat ask zoom highlight select choose pick ignore skip "
    "crop is are was were"
)

SEEING = _words("shown visible depicted displayed seen drawn written printed located pictured present highlighted")
"""Words behind which a marker's words stand by themselves: "what is shown within the red rectangle"."""

THINGS = _words(
    "object objects thing things item items one ones person people man men woman women boy girl child kid animal "
    "dog cat bird horse cow car truck bus bike bicycle motorcycle vehicle cup bottle glass plate bowl knife fork "
    "spoon table chair bed sofa book phone laptop screen keyboard bag hat shirt jacket shoe ball sign text word "
    "label logo building house tree plant flower food fruit door window lamp icon button field menu image picture "
    "figure shape symbol part light square circle triangle star cross orange"
)
"""Nouns that begin a sentence without an article, where most words would be a command."""

ADJECTIVES = _words(
    "red green blue yellow orange purple pink black white gray grey brown lime gold golden silver cyan magenta "
    "fuchsia aqua big small large little tiny huge tall short long wide narrow thin thick round square young old "
    "new dark bright light upper lower middle central left right leftmost rightmost topmost main wooden metal "
    "plastic glass"
)

PAIRED = _words(
    "license licence number facial body hair eye coffee skin brand head wrist dominant primary overall exact "
    "current background foreground text font emotional approximate relative visual physical"
)
"""First words of attributes that have two: "license plate", "facial expression"."""

_ING_NOUNS = _words(
    "building painting drawing ceiling thing ring king string clothing wing swing earring sibling awning railing "
    "spring pudding wedding marking writing lettering being morning evening crossing landing icing topping "
    "dressing stocking heading housing covering flooring lighting opening clearing parking dwelling carving "
    "etching anything something"
)

_ED_NOUNS = _words("bed seed shed weed sled breed feed reed speed steed red")

IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "knives": "knife",
    "shelves": "shelf",
    "leaves": "leaf",
    "loaves": "loaf",
    "wolves": "wolf",
    "mice": "mouse",
    "geese": "goose",
    "feet": "foot",
    "teeth": "tooth",
    "boxes": "box",
    "axes": "axe",
    "buses": "bus",
    "movies": "movie",
    "cookies": "cookie",
    "ties": "tie",
    "pies": "pie",
}


def is_verb(word: str) -> bool:
    """Whether a word is a verb that questions about images use, in any form, or has the ending of one."""
    if word in VERBS:
        return True
    if word.endswith("ing"):
        return word not in _ING_NOUNS
    if word.endswith("ed"):
        return word not in _ED_NOUNS
    stems = (word[:-1], word[:-2], f"{word[:-3]}y") if word.endswith("s") else ()
    return any(stem in VERBS for stem in stems)


def is_noun_in_front(word: str) -> bool:
    """Whether a word can be nothing but what a name behind it belongs to."""
    return word not in FUNCTION_WORDS | COMPARATIVES | FOREIGN and not word.endswith("ly")


def singular(noun: str) -> str | None:
    """Return the singular of a plural noun, None for a word that looks like no plural.

    Example:
        >>> singular("cups"), singular("People"), singular("glass")
        ('cup', 'person', None)
    """
    lower = noun.lower()
    if lower in IRREGULAR:
        return IRREGULAR[lower]
    if not lower.endswith("s") or lower.endswith(("ss", "us", "is")):
        return None
    if lower.endswith("ies") and len(lower) > 4:
        return f"{noun[:-3]}y"
    if lower.endswith(("ches", "shes", "sses", "xes")):
        return noun[:-2]
    return noun[:-1]
