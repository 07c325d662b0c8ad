"""What the invented readers write: comments for and against, posts and searches, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PRAISE: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        "This made my morning. More of this, please.",
        "Lovely piece, I have sent it to half my family already.",
        "Clear, funny and useful. I learned something on every line.",
        "Exactly what I was looking for, thank you for writing it down.",
        "I tried it the same day and it works beautifully.",
        "One of the best things I have read here this year.",
        "Such a warm story, I read it twice.",
        "Great tips, especially the last one. Wonderful work.",
        "I was doubtful at first, but this won me over completely.",
        "Honest and well told. I would happily read a whole series.",
        "Brilliant. My friends and I talked about it all through lunch.",
        "What a delight, from the first sentence to the last.",
    ),
    "zh": (
        "写得太好了，已经转发给全家人。",
        "非常实用，照着做一次就成功了，谢谢分享。",
        "看完心情很好，希望多来一些这样的内容。",
        "今年在这里读到的最喜欢的一篇。",
        "讲得清楚又有趣，新手也能看懂，点赞。",
        "太精彩了，看到最后忍不住鼓掌。",
        "很温暖的故事，读了两遍还想再读。",
        "干货满满，最后一条建议特别有用。",
        "一开始不信，试过以后真的服了，强烈推荐。",
        "文字和图都很用心，支持作者继续更新。",
    ),
}

COMPLAINT: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        "What a waste of an hour. I am done with this.",
        "Boring, repetitive and full of tricks to keep me clicking.",
        "I used to love this, now it only makes me angry.",
        "Terrible. Nothing works as described and nobody answers.",
        "Please stop showing me these, I could not care less.",
        "Badly made, badly explained and far too expensive.",
        "This is awful, I regret every minute of it.",
        "Dull from start to finish. I gave up halfway and removed it.",
        "The worst update so far, it ruined what was left of the fun.",
        "I am tired of this hype. It is shallow and dishonest.",
    ),
    "zh": (
        "太失望了，完全不值这个价，后悔买了。",
        "质量很差，用了一次就坏，客服也不理人。",
        "标题党，内容空洞，浪费时间。",
        "难用得要命，别再给我推荐这种东西了。",
        "越看越生气，一点诚意都没有。",
        "说得天花乱坠，实际根本不行，差评。",
        "无聊透顶，看了一半就关掉了。",
        "做工粗糙，味道刺鼻，已经退货。",
    ),
}

POSTS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        "I tried this over the weekend and wrote down what I would do differently next time.",
        "A short note for those who asked me how it went: better than I had hoped.",
        "Three questions for people who know more about this than I do.",
    ),
    "zh": (
        "周末自己试了一遍，把过程和踩过的坑记在这里。",
        "很多人问我结果怎么样，比想象中好，说几点体会。",
        "有三个问题想请教有经验的朋友。",
    ),
}

SEARCHES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "finance": {"en": ("dividend shares this week", "interest rate decision"), "zh": ("基金定投", "黄金价格")},
    "technology": {"en": ("small language model laptop", "password manager"), "zh": ("静音主机", "智能家居 推荐")},
    "food": {
        "en": ("quick lentil dinner", "sourdough starter", "grilled vegetables"),
        "zh": ("家常菜 做法", "戚风蛋糕"),
    },
    "home-garden": {"en": ("balcony tomatoes", "small room lighting"), "zh": ("小户型 收纳", "阳台 种菜", "沙发 布料")},
    "games": {"en": ("board games for two", "role playing game bakery"), "zh": ("双人桌游", "手游 推荐")},
    "outdoors": {"en": ("ridge walk map", "light tent two people", "canoe trip"), "zh": ("露营 装备", "徒步 路线")},
    "travel": {"en": ("slow trains by the sea", "cheap islands"), "zh": ("古城 三天", "海岛 民宿")},
    "sports": {"en": ("cup final result", "penalty saves"), "zh": ("足球 半决赛", "女排 比分", "篮球 三分")},
    "film-tv": {"en": ("short series to finish", "space drama"), "zh": ("悬疑片 推荐", "新剧 口碑", "动画 水墨")},
    "music": {"en": ("jazz trumpet live", "record player"), "zh": ("民谣 现场", "钢琴 入门")},
    "pets": {"en": ("dog training whistle", "why cats sit in boxes"), "zh": ("猫 半夜", "领养 老猫")},
    "parenting": {"en": ("reading aloud books", "fever children"), "zh": ("绘本 书单", "辅食 添加")},
}
