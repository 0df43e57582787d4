"""A headless Chromium of one's own: fresh profile, nothing said to the world.

    with Browser() as browser:
        tab = browser.open(server.url)
        tab.find("#name").send_keys("Ada")
        tab.wait(lambda: tab.text("#link") == "online", "the link")
"""
import json
import shutil
import tempfile
import time

from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException, StaleElementReferenceException)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
PATIENCE_S = 20

SWITCHES = """
    --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage
    --no-first-run --no-default-browser-check --disable-default-apps
    --disable-background-networking --disable-component-update --disable-sync
    --disable-extensions --disable-domain-reliability --no-pings
    --disable-features=Translate,OptimizationHints,MediaRouter
    --disable-background-timer-throttling --disable-renderer-backgrounding
    --disable-backgrounding-occluded-windows --no-proxy-server
    --host-resolver-rules=MAP\u00a0*\u00a0~NOTFOUND,EXCLUDE\u00a0127.0.0.1
    --force-color-profile=srgb --hide-scrollbars --window-size=1200,800
""".split()


class Browser:
    def __init__(self, trusts=()):
        """trusts: fingerprints of keys whose certificates are taken as good,
        as Authority.fingerprint() tells them; no others are."""
        self._profile = tempfile.mkdtemp(prefix="moonwire-browser-")
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for switch in SWITCHES:
            options.add_argument(switch.replace("\u00a0", " "))
        options.add_argument("--user-data-dir=" + self._profile)
        if trusts:
            options.add_argument("--ignore-certificate-errors-spki-list="
                                 + ",".join(trusts))
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        try:
            self.driver = webdriver.Chrome(
                service=Service(DRIVER), options=options)
        except BaseException:
            shutil.rmtree(self._profile, ignore_errors=True)
            raise
        self._first = self.driver.current_window_handle

    def open(self, url):
        """-> a new tab that shows url."""
        self.driver.switch_to.window(self._first)
        self.driver.switch_to.new_window("tab")
        tab = Tab(self.driver, self.driver.current_window_handle)
        self.driver.get(url)
        return tab

    def close_tabs(self):
        for handle in self.driver.window_handles:
            if handle != self._first:
                self.driver.switch_to.window(handle)
                self.driver.close()
        self.driver.switch_to.window(self._first)

    def close(self):
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Tab:
    """Every call goes to this tab, whichever was in front before."""

    def __init__(self, driver, handle):
        self._driver = driver
        self.handle = handle

    @property
    def driver(self):
        self._driver.switch_to.window(self.handle)
        return self._driver

    def find(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def texts(self, css):
        """What is to be read, hidden things left out."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter(e => e.checkVisibility()).map(e => e.innerText.trim())",
            css)

    def text(self, css):
        found = self.texts(css)
        return found[0] if found else None

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def cdp(self, command, **params):
        return self.driver.execute_cdp_cmd(command, params)

    def size(self, width, height, is_phone=False):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width,
                 height=height, deviceScaleFactor=2 if is_phone else 1,
                 mobile=is_phone)

    def scheme(self, name):
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": name}])

    def shot(self, path):
        self.driver.save_screenshot(str(path))

    def close(self):
        self.driver.close()

    def errors(self):
        """What the console complained about since the last call, but for
        links that broke: those are part of the tests."""
        return [entry["message"] for entry in self.driver.get_log("browser")
                if entry["level"] == "SEVERE"
                and "WebSocket connection to" not in entry["message"]]

    def wait(self, condition, what, timeout=PATIENCE_S):
        """-> the condition's first true value."""
        ends = time.monotonic() + timeout
        while True:
            try:
                value = condition()
            except (NoSuchElementException, StaleElementReferenceException):
                value = None
            if value:
                return value
            if time.monotonic() > ends:
                break
            time.sleep(0.05)
        raise AssertionError(
            "waited in vain for %s; the page says:\n%s\n%s" % (
                what, self.run("return document.body.innerText"),
                json.dumps(self.driver.get_log("browser"), indent=1)))
