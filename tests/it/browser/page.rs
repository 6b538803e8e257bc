//! A page of a browser that all tests share, each with cookies of its own, and words to ask it with.

use super::wire::Wire;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use frontdesk::sim::voice::{VoiceTone, render};
use headless_chrome::browser::tab::point::Point;
use headless_chrome::protocol::cdp::Target::CreateTarget;
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Input, Network, Runtime};
use headless_chrome::{Browser, LaunchOptionsBuilder, Tab};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The longest anything on a page may take.
const PATIENCE: Duration = Duration::from_secs(45);

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

impl Look {
    const fn of(name: &'static str, phone: bool, dark: bool) -> Self {
        let (width, height) = if phone { (390, 844) } else { (1280, 860) };
        Self { name, width, height, phone, dark }
    }
}

/// On a desk, light and dark.
pub const DESK: [Look; 2] = [Look::of("desktop-light", false, false), Look::of("desktop-dark", false, true)];
/// On a phone, light and dark.
pub const PHONE: [Look; 2] = [Look::of("phone-light", true, false), Look::of("phone-dark", true, true)];

/// The tallest picture of a page that is longer than the window.
const TALLEST: u32 = 2_600;

/// The browser that all tests use that run at the same time; closed after the last of them.
struct Shared {
    browser: Browser,
    folder: PathBuf,
}

impl Shared {
    fn get() -> Arc<Self> {
        static NOW: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        let mut now = NOW.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = now.upgrade() {
            return shared;
        }
        let shared = Arc::new(Self::start());
        *now = Arc::downgrade(&shared);
        shared
    }

    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("frontdesk-browser-{:x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("microphone.wav");
        std::fs::write(&file, wav(&microphone())).unwrap();
        let heard = format!("--use-file-for-fake-audio-capture={}%noloop", file.display());
        let args = [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            &heard,
            "--autoplay-policy=no-user-gesture-required",
            "--hide-scrollbars",
            "--mute-audio",
        ];
        let options = LaunchOptionsBuilder::default()
            .path(Some(chromium()))
            // Chromium's sandbox needs a user who is not root.
            .sandbox(false)
            .window_size(Some((1280, 860)))
            .idle_browser_timeout(Duration::from_secs(300))
            .args(args.iter().map(OsStr::new).collect())
            .build()
            .unwrap();
        Self { browser: Browser::new(options).expect("Chromium starts"), folder }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What is heard whenever a page opens the microphone: a question, once the greeting is over.
fn microphone() -> Vec<u8> {
    let mut heard = vec![0xff; 8_000 * 9];
    heard.extend(render("What are your prices?", &VoiceTone::CALLER));
    heard.extend(vec![0xff; 8_000 * 60]);
    heard
}

/// Mu-law audio as a WAV file, 16 bit, 8 kHz.
fn wav(audio: &[u8]) -> Vec<u8> {
    let samples = frontdesk::audio::mulaw::decode_slice(audio);
    let data = u32::try_from(samples.len() * 2).unwrap();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend([1u16, 1].iter().flat_map(|n| n.to_le_bytes()));
    file.extend([8_000u32, 16_000].iter().flat_map(|n| n.to_le_bytes()));
    file.extend([2u16, 16].iter().flat_map(|n| n.to_le_bytes()));
    file.extend(b"data");
    file.extend(data.to_le_bytes());
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    file
}

/// A page.
pub struct Page {
    base: String,
    tab: Arc<Tab>,
    wire: Mutex<Wire>,
    context: String,
    complaints: Arc<Mutex<Vec<String>>>,
    shared: Arc<Shared>,
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.tab.close_target();
    }
}

fn chromium() -> PathBuf {
    let told = std::env::var_os("CHROME").map(PathBuf::from);
    let found = told.into_iter().chain(PLACES.map(PathBuf::from)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("no browser: install Chromium (apt-get install chromium), or say with CHROME where it is")
    })
}

impl Page {
    /// Opens a page for somebody who has not been here before, on the server at `base`.
    pub fn open(base: &str) -> Self {
        let shared = Shared::get();
        let context = shared.browser.new_context().expect("a window of its own").get_id().to_owned();
        Self::within(base, shared, context)
    }

    /// Opens another page beside this one, with the same cookies.
    pub fn beside(&self) -> Self {
        Self::within(&self.base, Arc::clone(&self.shared), self.context.clone())
    }

    fn within(base: &str, shared: Arc<Shared>, context: String) -> Self {
        let target = CreateTarget {
            url: "about:blank".to_owned(),
            left: None,
            top: None,
            width: None,
            height: None,
            window_state: None,
            browser_context_id: Some(context.clone()),
            enable_begin_frame_control: None,
            new_window: Some(true),
            background: None,
            for_tab: None,
            hidden: None,
        };
        let tab = shared.browser.new_tab_with_options(target).expect("a tab opens");
        tab.set_default_timeout(PATIENCE);
        tab.enable_log().unwrap();
        tab.enable_runtime().unwrap();
        // Each page is as if it were the only one.
        tab.call_method(Emulation::SetFocusEmulationEnabled { enabled: true }).unwrap();
        let complaints = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&complaints);
        tab.add_event_listener(Arc::new(move |event: &Event| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(complaint(event));
        }))
        .unwrap();
        let wire = Wire::open(&shared.browser.get_ws_url(), tab.get_target_id(), PATIENCE);
        let page = Self { base: base.to_owned(), tab, wire: Mutex::new(wire), context, complaints, shared };
        page.look(&DESK[0]);
        page
    }

    /// Goes to a page of the dashboard, as by typing its address.
    pub fn go(&self, path: &str) -> &Self {
        let address = format!("{}{path}", self.base);
        self.run("window.isLeft = true");
        match self.ask(&[("Page.navigate", json!({ "url": address }))]) {
            Ok(answers) => assert!(answers[0].get("errorText").is_none(), "{address}: {answers:?}"),
            // The answer may be lost with the document that is left.
            Err(why) => assert!(why.contains("navigated"), "{address}: {why}"),
        }
        self.wait("the document", "!window.isLeft && document.readyState === 'complete'")
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

    /// Presses Tab, so many times.
    pub fn tab_on(&self, times: usize) {
        let press = |kind: &str| {
            let key = json!({
                "type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9, "nativeVirtualKeyCode": 9,
            });
            ("Input.dispatchKeyEvent", key)
        };
        let presses: Vec<_> = (0..times).flat_map(|_| [press("rawKeyDown"), press("keyUp")]).collect();
        self.call(&presses);
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
        while self.try_value(&format!("return Boolean({expression})")) != Ok(Value::Bool(true)) {
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
        self.try_value(statements).unwrap_or_else(|why| panic!("not to be evaluated: {statements}: {why}"))
    }

    fn try_value(&self, statements: &str) -> Result<Value, String> {
        let wrapped = format!(
            "(async () => {{ {statements} }})().then(v => JSON.stringify([v ?? null]), e => JSON.stringify(String(e)))"
        );
        let question = json!({ "expression": wrapped, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask(&[("Runtime.evaluate", question)])?.remove(0);
        let text = answer["result"]["value"].as_str().ok_or("no text")?;
        match serde_json::from_str(text).map_err(|error| error.to_string())? {
            Value::Array(mut one) => Ok(one.pop().unwrap_or_default()),
            why => Err(why.to_string()),
        }
    }

    fn ask(&self, questions: &[(&str, Value)]) -> Result<Vec<Value>, String> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).ask(questions)
    }

    fn call(&self, questions: &[(&str, Value)]) -> Vec<Value> {
        self.ask(questions).unwrap_or_else(|why| panic!("{questions:?}: {why}"))
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

    /// How long answers take to arrive, beyond what they take anyway.
    pub fn slow(&self, latency: Duration) -> &Self {
        self.tab
            .call_method(Network::Enable {
                max_total_buffer_size: None,
                max_resource_buffer_size: None,
                max_post_data_size: None,
                report_direct_socket_traffic: None,
                enable_durable_messages: None,
            })
            .unwrap();
        self.tab
            .call_method(Network::EmulateNetworkConditions {
                offline: false,
                latency: latency.as_secs_f64() * 1_000.0,
                download_throughput: -1.0,
                upload_throughput: -1.0,
                connection_Type: None,
                packet_loss: None,
                packet_queue_length: None,
                packet_reordering: None,
            })
            .unwrap();
        self
    }

    /// Changes the window and the preferred colours.
    pub fn look(&self, look: &Look) -> &Self {
        let value = if look.dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call(&[
            size(look, look.height),
            ("Emulation.setEmulatedMedia", json!({ "features": features })),
        ]);
        self
    }

    fn size(&self, look: &Look, height: u32) {
        self.call(&[size(look, height)]);
    }

    /// Keeps a picture of all of the page, in a window as long as it needs.
    pub fn shoot_whole(&self, name: &str, look: &Look) -> &Self {
        let long = self.value("return document.documentElement.scrollHeight").as_u64().unwrap_or_default();
        let long = u32::try_from(long).unwrap_or(TALLEST).clamp(look.height, TALLEST);
        if long > look.height {
            self.size(look, long);
            // Drawn once in its new size.
            self.value(
                "return await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))",
            );
        }
        self.shoot(name);
        if long > look.height {
            self.size(look, look.height);
        }
        self
    }

    /// Keeps a picture of what is seen.
    pub fn shoot(&self, name: &str) -> &Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.call(&[("Page.captureScreenshot", json!({ "format": "png" }))]).remove(0);
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        assert!(picture.len() > 2_000, "the picture {name} is empty");
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        self
    }

    /// What the page complained about.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends; the page must not have complained.
    pub fn close(self) {
        self.close_with(|_| false);
    }

    /// Ends; the page must not have complained of anything but what is `expected`.
    pub fn close_with(self, expected: impl Fn(&str) -> bool) {
        let mut complaints = self.complaints();
        complaints.retain(|complaint| !expected(complaint));
        assert!(complaints.is_empty(), "the page complains: {complaints:#?}");
    }
}

fn size(look: &Look, height: u32) -> (&'static str, Value) {
    let size = json!({ "width": look.width, "height": height, "deviceScaleFactor": 1, "mobile": look.phone });
    ("Emulation.setDeviceMetricsOverride", size)
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
                // A call without a recording has no waveform, and one that was imported no outcome.
                || (url.ends_with("/waveform") || url.ends_with("/outcome")) && entry.text.contains("404")
                // A recording that is not complete yet.
                || url.ends_with("/waveform") && entry.text.contains("409");
            let serious = format!("{:?}", entry.level) == "Error";
            (serious && !expected).then(|| format!("{} {url}", entry.text))
        }
        _ => None,
    }
}
