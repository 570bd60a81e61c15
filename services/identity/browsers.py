"""A browser's own name for itself, in words for a person: "Firefox on Windows". A name is anybody's to send: the words
help people to recognise their own browser, and prove nothing."""

# In this order: almost every browser also says that it is Safari, and many that they are Chrome.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)
_MOST_PRODUCT = 40


def words_of(user_agent: str) -> str:
    """Browser and system; '' where the browser is none that we know."""
    if not user_agent.startswith("Mozilla/"):
        return ""
    browser = next((words for mark, words in _BROWSERS if mark in user_agent), "")
    system = next((words for mark, words in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if browser and system else browser


def family_of(user_agent: str) -> str:
    """What stays the same when the browser, or another client, is brought up to date."""
    return words_of(user_agent) or user_agent.partition("/")[0][:_MOST_PRODUCT]
