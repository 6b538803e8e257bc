//! A page in a browser of its own, with words to ask it with.

use headless_chrome::browser::tab::point::Point;
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Input, Page as Cdp, Runtime};
use headless_chrome::{Browser, LaunchOptionsBuilder, Tab};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest anything on a page may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Chromium may be.
const PLACES: [&str; 4] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];

/// How large the window is and which colours the system prefers.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    pub phone: bool,
    pub dark: bool,
}

pub const LOOKS: [Look; 4] = [
    Look { name: "desktop-light", width: 1366, height: 860, phone: false, dark: false },
    Look { name: "desktop-dark", width: 1366, height: 860, phone: false, dark: true },
    Look { name: "phone-light", width: 390, height: 844, phone: true, dark: false },
    Look { name: "phone-dark", width: 390, height: 844, phone: true, dark: true },
];

/// A page in a browser of its own.
pub struct Page {
    base: String,
    tab: Arc<Tab>,
    complaints: Arc<Mutex<Vec<String>>>,
    // Closes with it.
    _browser: Browser,
}

fn chromium() -> PathBuf {
    let told = std::env::var_os("CHROME").map(PathBuf::from);
    let found = told.into_iter().chain(PLACES.map(PathBuf::from)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("no browser: install Chromium (apt-get install chromium), or say with CHROME where it is")
    })
}

impl Page {
    /// Opens a browser on the server at `base`. `microphone` is a WAV file that is heard instead of a microphone.
    pub fn open(base: &str, microphone: Option<&Path>) -> Self {
        let heard =
            microphone.map(|file| format!("--use-file-for-fake-audio-capture={}%noloop", file.display()));
        let mut args = vec![
            OsStr::new("--use-fake-device-for-media-stream"),
            OsStr::new("--use-fake-ui-for-media-stream"),
            OsStr::new("--autoplay-policy=no-user-gesture-required"),
            OsStr::new("--hide-scrollbars"),
            OsStr::new("--mute-audio"),
        ];
        args.extend(heard.as_deref().map(OsStr::new));
        let options = LaunchOptionsBuilder::default()
            .path(Some(chromium()))
            // Chromium's sandbox needs a user who is not root.
            .sandbox(false)
            .window_size(Some((1366, 860)))
            .idle_browser_timeout(Duration::from_secs(300))
            .args(args)
            .build()
            .unwrap();
        let browser = Browser::new(options).expect("Chromium starts");
        let tab = browser.new_tab().expect("a tab opens");
        tab.set_default_timeout(PATIENCE);
        tab.enable_log().unwrap();
        tab.enable_runtime().unwrap();
        let complaints = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&complaints);
        tab.add_event_listener(Arc::new(move |event: &Event| kept.lock().unwrap().extend(complaint(event))))
            .unwrap();
        let page = Self { base: base.to_owned(), tab, complaints, _browser: browser };
        page.look(&LOOKS[0]);
        page
    }

    /// Goes to a page of the dashboard, as by typing its address.
    pub fn go(&self, path: &str) -> &Self {
        self.tab.navigate_to(&format!("{}{path}", self.base)).unwrap();
        self.tab.wait_until_navigated().unwrap();
        self
    }

    /// Signs in and waits for the frame.
    pub fn sign_in(&self, name: &str, password: &str) -> &Self {
        self.go("/").wait("the sign-in form", "document.querySelector('input[name=password]')");
        self.fill("name", name).fill("password", password).press_button("Sign in");
        self.wait("the frame", "document.querySelector('.side')")
    }

    /// Writes into the field of that name, as by typing.
    pub fn fill(&self, field: &str, text: &str) -> &Self {
        let quoted = Value::from(text);
        self.run(&format!(
            "const e = [...document.querySelectorAll('[name=\"{field}\"]')].at(-1); e.focus(); e.value = {quoted};
             e.dispatchEvent(new Event('input', {{bubbles: true}})); e.dispatchEvent(new Event('change', {{bubbles: true}}));"
        ));
        self
    }

    /// Clicks the button or link with that text, once it is there.
    pub fn press_button(&self, text: &str) -> &Self {
        let find = format!(
            "[...document.querySelectorAll('button, a')].filter(e => e.offsetParent || e.closest('dialog'))
             .findLast(e => e.textContent.trim() === {} && !e.disabled)",
            Value::from(text)
        );
        self.wait(&format!("the button {text}"), &find);
        self.run(&format!("({find}).click()"));
        self
    }

    /// Presses a key.
    pub fn key(&self, key: &str) -> &Self {
        self.tab.press_key(key).unwrap();
        self
    }

    /// Drags with the mouse.
    pub fn drag(&self, from: Point, to: Point) {
        let mouse = |kind, point: Point, pressed: bool| {
            self.tab
                .call_method(Input::DispatchMouseEvent {
                    Type: kind,
                    x: point.x,
                    y: point.y,
                    button: Some(Input::MouseButton::Left),
                    buttons: Some(u32::from(pressed)),
                    click_count: Some(1),
                    modifiers: None,
                    timestamp: None,
                    force: None,
                    tangential_pressure: None,
                    tilt_x: None,
                    tilt_y: None,
                    twist: None,
                    delta_x: None,
                    delta_y: None,
                    pointer_Type: None,
                })
                .unwrap();
        };
        use Input::DispatchMouseEventTypeOption::{MouseMoved, MousePressed, MouseReleased};
        mouse(MouseMoved, from, false);
        mouse(MousePressed, from, true);
        for step in 1..=8 {
            let part = f64::from(step) / 8.0;
            let at = Point { x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part };
            mouse(MouseMoved, at, true);
        }
        mouse(MouseReleased, to, false);
    }

    /// The middle of what an expression finds.
    pub fn middle_of(&self, element: &str) -> Point {
        let at = self.value(&format!(
            "const r = ({element}).getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]"
        ));
        Point { x: at[0].as_f64().unwrap(), y: at[1].as_f64().unwrap() }
    }

    /// Waits until an expression is true.
    pub fn wait(&self, what: &str, expression: &str) -> &Self {
        self.wait_longer(what, expression, PATIENCE)
    }

    /// Waits until an expression is true, as long as told.
    pub fn wait_longer(&self, what: &str, expression: &str, patience: Duration) -> &Self {
        let deadline = Instant::now() + patience;
        // The whole is false while a document is on its way.
        while self.try_value(&format!("return Boolean({expression})")) != Some(Value::Bool(true)) {
            if Instant::now() > deadline {
                self.shoot("failed");
                let text = self.try_value("return document.body.innerText").unwrap_or_default();
                panic!("{what} does not come; complaints: {:?}; the page: {text}", self.complaints());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self
    }

    /// Runs statements in the page.
    pub fn run(&self, statements: &str) {
        self.value(&format!("{statements}; return null"));
    }

    /// What statements in the page return; promises are waited for.
    pub fn value(&self, statements: &str) -> Value {
        self.try_value(statements).unwrap_or_else(|| panic!("not to be evaluated: {statements}"))
    }

    fn try_value(&self, statements: &str) -> Option<Value> {
        let wrapped = format!("(async () => {{ {statements} }})().then(v => JSON.stringify(v ?? null))");
        let answer = self.tab.evaluate(&wrapped, true).ok()?;
        serde_json::from_str(answer.value?.as_str()?).ok()
    }

    /// Asks the API as the page does, signed in.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "GET" { "undefined".to_owned() } else { body.to_string() };
        self.value(&format!(
            "const base = document.querySelector('script[type=module]').src;
             const {{ call }} = await import(new URL('api.js', base));
             return await call('{method}', '{path}', {{ body: {body} }})"
        ))
    }

    /// Changes the window and the preferred colours.
    pub fn look(&self, look: &Look) -> &Self {
        self.tab
            .call_method(Emulation::SetDeviceMetricsOverride {
                width: look.width,
                height: look.height,
                device_scale_factor: 1.0,
                mobile: look.phone,
                scale: None,
                screen_width: None,
                screen_height: None,
                position_x: None,
                position_y: None,
                dont_set_visible_size: None,
                screen_orientation: None,
                viewport: None,
                display_feature: None,
                device_posture: None,
            })
            .unwrap();
        let value = if look.dark { "dark" } else { "light" };
        let features =
            vec![Emulation::MediaFeature { name: "prefers-color-scheme".into(), value: value.into() }];
        self.tab.call_method(Emulation::SetEmulatedMedia { media: None, features: Some(features) }).unwrap();
        self
    }

    /// Keeps a picture of what is seen.
    pub fn shoot(&self, name: &str) -> &Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let picture =
            self.tab.capture_screenshot(Cdp::CaptureScreenshotFormatOption::Png, None, None, true).unwrap();
        assert!(picture.len() > 2_000, "the picture {name} is empty");
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        self
    }

    /// What the page complained about.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    /// Ends; the page must not have complained.
    pub fn close(self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the page complains: {complaints:#?}");
    }
}

/// What of an event is a complaint.
fn complaint(event: &Event) -> Option<String> {
    match event {
        Event::RuntimeExceptionThrown(thrown) => {
            let details = &thrown.params.exception_details;
            let text = details.exception.as_ref().and_then(|e| e.description.clone());
            Some(text.unwrap_or_else(|| details.text.clone()))
        }
        Event::RuntimeConsoleAPICalled(called)
            if called.params.Type == Runtime::ConsoleAPICalledEventTypeOption::Error =>
        {
            let said = called
                .params
                .args
                .iter()
                .filter_map(|a| a.description.clone().or(Some(a.value.as_ref()?.to_string())));
            Some(said.collect::<Vec<_>>().join(" "))
        }
        Event::LogEntryAdded(added) => {
            let entry = &added.params.entry;
            let url = entry.url.clone().unwrap_or_default();
            // Asked before anybody is signed in: that is how the page learns it.
            let expected = url.ends_with("/api/session") && entry.text.contains("401")
                // A call without a recording has no waveform.
                || url.ends_with("/waveform") && entry.text.contains("404");
            let serious = format!("{:?}", entry.level) == "Error";
            (serious && !expected).then(|| format!("{} {url}", entry.text))
        }
        _ => None,
    }
}
