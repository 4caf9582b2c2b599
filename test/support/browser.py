#!/usr/bin/python3
"""A real browser, headless Chromium, driven by lines on stdin through WebDriver. The driver looks and types; it runs no
script in a page but to measure it.

stdin    COMMAND [ARGUMENT...]     arguments in base64
         open URL                  and wait until it is there
         user NAME PASSWORD        whom to be, by HTTP's basic authentication; for all that follows
         click LABEL               the first button or link with this accessible name, and wait for the page that follows
         fill LABEL TEXT           into the field with this label, in place of what it holds
         keys NAME...              TAB, SHIFT_TAB or a text, to what has the focus
         press NAME                ENTER or SPACE to what has the focus, and wait for the page that follows
         unfold LABEL              the first summary with this text
         focused                   its tag, accessible name, and style and width of its outline, tab-separated
         text                      what is to be read on the page
         source                    the page as the browser has understood it
         title XPATH               accessible name of the first such element
         count XPATH
         overflow                  by how many pixels the page is wider than the window
         window WIDTH HEIGHT       in CSS pixels
         phone WIDTH HEIGHT        the same, as on a phone: with its viewport and without scroll bars
         scripts on|off            whether pages may run scripts
         dialogs                   how many dialogs are open
         screenshot FILE           PNG, of the whole page
         picture FILE              PNG, of what is in the window
         quit                      so does the end of stdin
stdout   ok [BASE64] | error BASE64, a line for each command
"""

import base64
import os
import shutil
import sys
import tempfile

from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

KEYS = {"TAB": Keys.TAB, "SHIFT_TAB": Keys.SHIFT + Keys.TAB + Keys.NULL, "ENTER": Keys.ENTER, "SPACE": Keys.SPACE}


def start(profile):
    options = webdriver.ChromeOptions()
    for flag in ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-dev-shm-usage", "--user-data-dir=" + profile]:
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    driver.set_page_load_timeout(60)
    return driver


class Browser:
    def __init__(self, driver):
        self.driver = driver

    def open(self, url):
        self.driver.get(url)

    def user(self, name, password):
        token = base64.b64encode(f"{name}:{password}".encode()).decode()
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Authorization": "Basic " + token}})

    def click(self, label):
        self.leave(self.named("button, a", label).click)

    def unfold(self, label):
        self.named("summary", label).click()

    def named(self, kinds, label):
        for element in self.driver.find_elements(By.CSS_SELECTOR, kinds):
            if label in (element.accessible_name.strip(), element.text.strip()):
                return element
        raise LookupError(f"nothing is called {label}")

    def leave(self, act):
        """Acts, and waits until the page that was there has gone: the driver waits for the next one itself."""
        page = self.driver.find_element(By.TAG_NAME, "html")
        act()
        # While the page goes, the driver may fail to look at it.
        WebDriverWait(self.driver, 60, 0.05, [WebDriverException]).until(staleness_of(page))
        # The end of each of ejabberd's pages. A page on its way in may still change places with an empty one.
        WebDriverWait(self.driver, 60, 0.05, [WebDriverException]).until(
            lambda driver: driver.find_element(By.ID, "copyrightouter").is_displayed())

    def fill(self, label, text):
        field = self.driver.find_element(By.XPATH, f"//input[@id=//label[normalize-space()='{label}']/@for]")
        field.clear()
        field.send_keys(text)

    def keys(self, *names):
        for name in names:
            self.driver.switch_to.active_element.send_keys(KEYS.get(name, name))

    def press(self, name):
        self.leave(lambda: self.keys(name))

    def focused(self):
        element = self.driver.switch_to.active_element
        return "\t".join([element.tag_name, element.accessible_name, element.value_of_css_property("outline-style"),
                          element.value_of_css_property("outline-width")])

    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def source(self):
        return self.driver.page_source

    def title(self, xpath):
        return self.driver.find_element(By.XPATH, xpath).accessible_name

    def count(self, xpath):
        return str(len(self.driver.find_elements(By.XPATH, xpath)))

    def layout(self):
        """Of a page that is drawn: one that was just loaded has no width at first."""
        return WebDriverWait(self.driver, 60, 0.05).until(lambda driver: next(
            (metrics for metrics in [driver.execute_cdp_cmd("Page.getLayoutMetrics", {})]
             if metrics["cssContentSize"]["width"] > 0), None))

    def overflow(self):
        metrics = self.layout()
        return str(round(metrics["cssContentSize"]["width"] - metrics["cssLayoutViewport"]["clientWidth"]))

    def window(self, width, height):
        self.metrics(width, height, False)

    def phone(self, width, height):
        self.metrics(width, height, True)

    def metrics(self, width, height, mobile):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": int(width), "height": int(height), "deviceScaleFactor": 1, "mobile": mobile})

    def scripts(self, state):
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": state == "off"})

    def dialogs(self):
        try:
            self.driver.switch_to.alert.dismiss()
            return "1"
        except NoAlertPresentException:
            return "0"

    def screenshot(self, path):
        # Scroll bars take room, and are not there when the whole page is drawn.
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        size = self.layout()["cssContentSize"]
        self.capture(path, {"captureBeyondViewport": True, "clip": {
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}})
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})

    def picture(self, path):
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        self.capture(path, {})
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})

    def capture(self, path, what):
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", **what})
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))


def encode(text):
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


def serve(browser):
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "quit":
            return
        try:
            answer = getattr(browser, command)(*[base64.b64decode(a).decode() for a in arguments])
            print("ok", encode(answer or ""), flush=True)
        except (LookupError, WebDriverException) as problem:
            print("error", encode(str(problem)), flush=True)


def main():
    profile = tempfile.mkdtemp(prefix="browser.")
    os.environ["HOME"] = profile
    try:
        driver = start(profile)
        print("ok", encode(""), flush=True)
        try:
            serve(Browser(driver))
        finally:
            driver.quit()
    finally:
        shutil.rmtree(profile, ignore_errors=True)


if __name__ == "__main__":
    main()
