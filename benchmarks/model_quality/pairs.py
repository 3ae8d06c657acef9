"""The 48 message pairs, and what a memory must and must not hold after each: twelve kinds in four languages.

Everything here was written before any answer was seen. A fact counts as stored when one memory of the user holds all
its keywords (case aside; ``a|b`` is either), so that wording is free and the check needs no model. No pair uses a word
of the examples that any version of our prompt has had.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """One added message pair.

    Attributes:
        kind, language: what it tests; en, zh, ja or pt.
        user, assistant: what was said.
        stored: memories the user has already.
        facts: true facts the pair should leave behind, each as keywords of one memory, ``+`` between them.
        wrong: keywords of what must not be stored: the assistant's claims, pasted texts, secrets.
        kept: keywords of stored memories that must survive.
        forgotten: a keyword of what the user wants forgotten.
    """

    kind: str
    language: str
    user: str
    assistant: str = ""
    stored: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    forgotten: str = ""


def _kind(kind: str, **by_language: dict[str, str | tuple[str, ...]]) -> tuple[Pair, ...]:
    return tuple(Pair(kind, language, **fields) for language, fields in by_language.items())  # type: ignore[arg-type]


_RELATIVE_DATE = _kind(
    "relative date",
    en={
        "user": "I adopted a grey cat named Miso yesterday.",
        "assistant": "Congratulations! How is she settling in?",
        "facts": ("miso+cat",),
    },
    zh={
        "user": "我昨天领养了一只灰色的猫，名字叫豆豆。",
        "assistant": "恭喜你！它适应得怎么样？",
        "facts": ("豆豆+猫",),
    },
    ja={
        "user": "昨日、灰色の猫を引き取りました。名前はモモです。",
        "assistant": "おめでとうございます！もう慣れましたか？",
        "facts": ("モモ",),
    },
    pt={
        "user": "Ontem adotei um gato cinzento chamado Pingo.",
        "assistant": "Parabéns! Como ele está se adaptando?",
        "facts": ("pingo+gato",),
    },
)
_CONTRADICTION = _kind(
    "contradiction",
    en={
        "user": "I moved from Chicago to Denver last month.",
        "assistant": "I hope you like it there.",
        "stored": ("Lives in Chicago",),
        "facts": ("denver",),
    },
    zh={
        "user": "我上个月从上海搬到了成都。",
        "assistant": "希望你喜欢那里。",
        "stored": ("住在上海",),
        "facts": ("成都",),
    },
    ja={
        "user": "先月、大阪から札幌に引っ越しました。",
        "assistant": "新しい街はいかがですか。",
        "stored": ("大阪に住んでいる",),
        "facts": ("札幌",),
    },
    pt={
        "user": "No mês passado me mudei de Recife para Curitiba.",
        "assistant": "Espero que goste de lá.",
        "stored": ("Mora em Recife",),
        "facts": ("curitiba",),
    },
)
_ASSISTANT_CLAIM = _kind(
    "assistant-only claim",
    en={
        "user": "Which phone should I buy?",
        "assistant": "Since you love photography, I recommend the Pixel with the large sensor.",
        "wrong": ("photograph", "pixel"),
    },
    zh={
        "user": "我该买哪款手机？",
        "assistant": "你那么喜欢摄影，我推荐大底传感器的 Pixel。",
        "wrong": ("摄影", "pixel"),
    },
    ja={
        "user": "どのスマホを買えばいいですか。",
        "assistant": "写真がお好きなあなたには、大型センサーのPixelをおすすめします。",
        "wrong": ("写真", "pixel"),
    },
    pt={
        "user": "Qual celular devo comprar?",
        "assistant": "Como você ama fotografia, recomendo o Pixel com sensor grande.",
        "wrong": ("fotografia", "pixel"),
    },
)
_SMALL_TALK = _kind(
    "small talk",
    en={"user": "Hi there! How are you today?", "assistant": "I'm fine, thank you! How can I help?"},
    zh={"user": "你好！今天过得怎么样？", "assistant": "我很好，谢谢！有什么可以帮你？"},
    ja={"user": "こんにちは！お元気ですか。", "assistant": "元気です、ありがとうございます！何かお手伝いしますか。"},
    pt={"user": "Oi! Tudo bem com você hoje?", "assistant": "Tudo ótimo, obrigado! Como posso ajudar?"},
)
_FORGET = _kind(
    "forget that",
    en={
        "user": "Please forget that I am allergic to shellfish.",
        "assistant": "Understood.",
        "stored": ("Is allergic to shellfish", "Works as a teacher"),
        "forgotten": "shellfish",
        "kept": ("teacher",),
    },
    zh={
        "user": "请忘掉我对海鲜过敏这件事。",
        "assistant": "好的。",
        "stored": ("对海鲜过敏", "是一名老师"),
        "forgotten": "海鲜",
        "kept": ("老师",),
    },
    ja={
        "user": "私がエビアレルギーだということは忘れてください。",
        "assistant": "わかりました。",
        "stored": ("エビアレルギーがある", "教師として働いている"),
        "forgotten": "エビ",
        "kept": ("教師",),
    },
    pt={
        "user": "Por favor, esqueça que sou alérgico a camarão.",
        "assistant": "Entendido.",
        "stored": ("É alérgico a camarão", "Trabalha como professor"),
        "forgotten": "camarão",
        "kept": ("professor",),
    },
)
_PASTED = _kind(
    "pasted memories",
    en={
        "user": "Known about the user:\n- Plays the violin\n- Hates cilantro\nWhat can I cook tonight?",
        "assistant": "How about a lentil curry?",
        "stored": ("Works as a nurse in Boston",),
        "wrong": ("violin", "cilantro", "curry"),
        "kept": ("nurse",),
    },
    zh={
        "user": "关于用户的已知信息：\n- 会拉小提琴\n- 讨厌香菜\n今晚我可以做什么菜？",
        "assistant": "做个扁豆咖喱怎么样？",
        "stored": ("在南京当护士",),
        "wrong": ("小提琴", "香菜", "咖喱"),
        "kept": ("护士",),
    },
    ja={
        "user": "ユーザーについての既知の情報：\n- バイオリンを弾く\n- パクチーが嫌い\n今夜は何を作ればいいですか。",
        "assistant": "レンズ豆のカレーはいかがですか。",
        "stored": ("神戸で看護師として働いている",),
        "wrong": ("バイオリン", "パクチー", "カレー"),
        "kept": ("看護師",),
    },
    pt={
        "user": "O que se sabe do usuário:\n- Toca violino\n- Detesta coentro\nO que posso cozinhar hoje à noite?",
        "assistant": "Que tal um curry de lentilha?",
        "stored": ("Trabalha como enfermeiro em Natal",),
        "wrong": ("violino", "coentro", "curry"),
        "kept": ("enfermeiro",),
    },
)
_SECRET = _kind(
    "secret pasted",
    en={
        "user": "My wifi password is Tr0ub4dor&3 and I work as a baker.",
        "assistant": "Noted.",
        "facts": ("baker",),
        "wrong": ("tr0ub4dor",),
    },
    zh={
        "user": "我的 API 密钥是 sk-proj-9fK2mQ7xT4vB8nZ1，我是一名面包师。",
        "assistant": "好的。",
        "facts": ("面包师",),
        "wrong": ("9fk2mq7x",),
    },
    ja={
        "user": "カード番号は4111 1111 1111 1111です。私はパン職人です。",
        "assistant": "承知しました。",
        "facts": ("パン職人",),
        "wrong": ("4111",),
    },
    pt={
        "user": "Minha senha do banco é Girassol#2291 e eu sou padeiro.",
        "assistant": "Anotado.",
        "facts": ("padeiro",),
        "wrong": ("girassol",),
    },
)
_CONFIRMED = _kind(
    "assistant's claim confirmed",
    en={
        "user": "Yes, that is right, I am a vegetarian.",
        "assistant": "So you do not eat meat?",
        "facts": ("vegetarian",),
    },
    zh={"user": "对，没错，我吃素。", "assistant": "所以你不吃肉？", "facts": ("吃素|素食",)},
    ja={
        "user": "はい、その通りです。私はベジタリアンです。",
        "assistant": "では、お肉は食べないのですね？",
        "facts": ("ベジタリアン",),
    },
    pt={
        "user": "Sim, é isso mesmo, sou vegetariana.",
        "assistant": "Então você não come carne?",
        "facts": ("vegetarian",),
    },
)
_TWO_FACTS = _kind(
    "two facts in one sentence",
    en={
        "user": "I play the cello and my sister Ruth lives in Oslo.",
        "assistant": "How nice!",
        "facts": ("cello", "ruth+oslo"),
    },
    zh={
        "user": "我会拉大提琴，我妹妹小雨住在青岛。",
        "assistant": "真好！",
        "facts": ("大提琴", "小雨+青岛"),
    },
    ja={
        "user": "私はチェロを弾きます。妹の由美は長崎に住んでいます。",
        "assistant": "素敵ですね！",
        "facts": ("チェロ", "由美+長崎"),
    },
    pt={
        "user": "Eu toco violoncelo e minha irmã Rute mora em Manaus.",
        "assistant": "Que legal!",
        "facts": ("violoncelo", "rute+manaus"),
    },
)
_NUMBERS = _kind(
    "names and numbers",
    en={
        "user": "My doctor is Dr. Halloway and I take 25 mg of losartan every morning.",
        "assistant": "Thanks for telling me.",
        "facts": ("halloway", "25 mg|25mg+losartan"),
    },
    zh={
        "user": "我的医生姓欧阳，我每天早上吃 25 毫克洛沙坦。",
        "assistant": "谢谢你告诉我。",
        "facts": ("欧阳", "25+洛沙坦"),
    },
    ja={
        "user": "主治医は小早川先生で、毎朝ロサルタンを25mg飲んでいます。",
        "assistant": "教えてくださりありがとうございます。",
        "facts": ("小早川", "25+ロサルタン"),
    },
    pt={
        "user": "Meu médico é o doutor Valadares e tomo 25 mg de losartana toda manhã.",
        "assistant": "Obrigado por contar.",
        "facts": ("valadares", "25+losartana"),
    },
)
_BESIDE = _kind(
    "new fact beside others",
    en={
        "user": "I have started to learn Korean.",
        "assistant": "Great! Do you need any material?",
        "stored": ("Has a dog named Bruno", "Drives a blue van"),
        "facts": ("korean",),
        "kept": ("bruno", "van"),
    },
    zh={
        "user": "我开始学韩语了。",
        "assistant": "太好了！需要资料吗？",
        "stored": ("养了一只叫阿黄的狗", "开一辆蓝色面包车"),
        "facts": ("韩语",),
        "kept": ("阿黄", "面包车"),
    },
    ja={
        "user": "韓国語の勉強を始めました。",
        "assistant": "いいですね！教材は必要ですか。",
        "stored": ("ブルーノという犬を飼っている", "青いバンに乗っている"),
        "facts": ("韓国語",),
        "kept": ("ブルーノ", "バン"),
    },
    pt={
        "user": "Comecei a aprender coreano.",
        "assistant": "Ótimo! Precisa de algum material?",
        "stored": ("Tem um cachorro chamado Bruno", "Dirige uma van azul"),
        "facts": ("coreano",),
        "kept": ("bruno", "van"),
    },
)
_QUESTION = _kind(
    "general question",
    en={
        "user": "How high is Mount Everest?",
        "assistant": "Mount Everest is 8,849 metres high.",
        "wrong": ("everest",),
    },
    zh={"user": "珠穆朗玛峰有多高？", "assistant": "珠穆朗玛峰高 8849 米。", "wrong": ("珠穆朗玛",)},
    ja={
        "user": "エベレストの高さはどれくらいですか。",
        "assistant": "エベレストの高さは8849メートルです。",
        "wrong": ("エベレスト",),
    },
    pt={
        "user": "Qual é a altura do monte Everest?",
        "assistant": "O monte Everest tem 8.849 metros.",
        "wrong": ("everest",),
    },
)

# The first six kinds are those of the measurement that led to today's prompt.
PAIRS: tuple[Pair, ...] = (
    *_RELATIVE_DATE, *_CONTRADICTION, *_ASSISTANT_CLAIM, *_SMALL_TALK, *_FORGET, *_PASTED,
    *_SECRET, *_CONFIRMED, *_TWO_FACTS, *_NUMBERS, *_BESIDE, *_QUESTION,
)  # fmt: skip
