//! What Twilio's REST API demands of a call's form and of TwiML.

use super::Shared;
use super::twilio_rest::{Form, Refused, SERVICE, bad, field};

fn is_address(number: &str) -> bool {
    if let Some(rest) = number.strip_prefix("sip:").or_else(|| number.strip_prefix("client:")) {
        return !rest.is_empty();
    }
    number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

fn is_absolute(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.host_str().is_some())
}

/// Twilio's own numbers for provoking refusals.
fn magic(to: &str) -> Option<Refused> {
    let (code, why) = match to {
        "+15005550001" => (21217, "Phone number does not appear to be valid"),
        "+15005550002" => (21214, "'To' phone number cannot be reached"),
        "+15005550003" => (21215, "Account not authorized to call this country"),
        "+15005550004" => (21216, "Account not allowed to call this number"),
        "+15005550009" => (21219, "'To' phone number not verified"),
        _ => return None,
    };
    Some(bad(code, why))
}

fn check_number(
    form: &Form,
    name: &str,
    range: std::ops::RangeInclusive<u32>,
    code: u32,
) -> Result<(), Refused> {
    match field(form, name) {
        Some(v) if !v.parse().is_ok_and(|n: u32| range.contains(&n)) => {
            Err(bad(code, format!("{name} {v} is out of range")))
        }
        _ => Ok(()),
    }
}

/// Checks the form of a new call.
pub(super) fn check_create(shared: &Shared, form: &Form) -> Result<(), Refused> {
    let to = field(form, "To").ok_or_else(|| bad(21201, "No 'To' number is specified"))?;
    let from = field(form, "From").ok_or_else(|| bad(21212, "No 'From' number is specified"))?;
    if !is_address(to) {
        return Err(bad(21211, format!("The 'To' number {to} is not a valid phone number.")));
    }
    if !is_address(from) {
        return Err(bad(21212, format!("The 'From' number {from} is not a valid phone number.")));
    }
    if let Some(refused) = magic(to) {
        return Err(refused);
    }
    let given = ["Url", "Twiml", "ApplicationSid"].iter().filter(|n| field(form, n).is_some()).count();
    if given == 0 {
        return Err(bad(21205, "Url, Twiml or ApplicationSid is required"));
    }
    if given > 1 {
        shared.controls.violate(SERVICE, "more than one of Url, Twiml and ApplicationSid");
    }
    check_urls(shared, form)?;
    check_number(form, "Timeout", 0..=600, 21208)?;
    check_number(form, "TimeLimit", 1..=14_400, 21208)?;
    check_number(form, "MachineDetectionTimeout", 3..=59, 21240)?;
    check_number(form, "MachineDetectionSpeechThreshold", 1_000..=6_000, 21240)?;
    check_number(form, "MachineDetectionSpeechEndThreshold", 500..=5_000, 21240)?;
    check_number(form, "MachineDetectionSilenceTimeout", 2_000..=10_000, 21240)?;
    if !matches!(field(form, "MachineDetection"), None | Some("Enable" | "DetectMessageEnd")) {
        return Err(bad(21240, "MachineDetection must be Enable or DetectMessageEnd"));
    }
    if field(form, "AsyncAmd") == Some("true") && field(form, "AsyncAmdStatusCallback").is_none() {
        shared.controls.violate(SERVICE, "AsyncAmd without AsyncAmdStatusCallback brings no verdict (21262)");
    }
    for (_, event) in form.iter().filter(|(n, _)| n == "StatusCallbackEvent") {
        if !matches!(event.as_str(), "initiated" | "ringing" | "answered" | "completed") {
            return Err(bad(21626, format!("StatusCallbackEvent {event} is not known")));
        }
    }
    Ok(())
}

/// Checks what both a new and a running call may be given.
pub(super) fn check_urls(shared: &Shared, form: &Form) -> Result<(), Refused> {
    for name in ["Url", "FallbackUrl", "StatusCallback", "RecordingStatusCallback"] {
        let Some(url) = field(form, name) else { continue };
        if !is_absolute(url) {
            let code = if name == "StatusCallback" { 21609 } else { 21205 };
            return Err(bad(code, format!("{name} {url} is not a valid URL")));
        }
        if name == "StatusCallback"
            && url::Url::parse(url).is_ok_and(|u| u.host_str().is_some_and(|h| h.contains('_')))
        {
            return Err(bad(21609, "the host name of StatusCallback has an underscore"));
        }
    }
    for name in ["Method", "FallbackMethod", "StatusCallbackMethod"] {
        if !matches!(field(form, name), None | Some("GET" | "POST")) {
            return Err(bad(21207, format!("{name} must be GET or POST")));
        }
    }
    if let Some(twiml) = field(form, "Twiml") {
        if twiml.chars().count() > 4_000 {
            return Err(bad(32018, "Twiml has more than 4000 characters"));
        }
        for fault in twiml_faults(twiml) {
            shared.controls.violate(SERVICE, fault);
        }
    }
    Ok(())
}

/// What is wrong with a document that runs without a URL of its own.
fn twiml_faults(twiml: &str) -> Vec<String> {
    use quick_xml::events::Event;
    let mut faults = Vec::new();
    let mut reader = quick_xml::Reader::from_str(twiml);
    let (mut depth, mut roots) = (0u32, 0u32);
    loop {
        let (element, opens) = match reader.read_event() {
            Ok(Event::Start(element)) => (element, true),
            Ok(Event::Empty(element)) => (element, false),
            Ok(Event::End(_)) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Ok(Event::Eof) => break,
            Ok(_) => continue,
            Err(error) => {
                faults.push(format!("TwiML is not well formed: {error}"));
                return faults;
            }
        };
        if depth == 0 {
            roots = roots.saturating_add(1);
            if element.name().as_ref() != b"Response" {
                faults.push("the root of TwiML must be Response".to_owned());
            }
        }
        if opens {
            depth = depth.saturating_add(1);
        }
        for attribute in element.attributes() {
            let Ok(attribute) = attribute else {
                faults.push("TwiML has a broken attribute".to_owned());
                continue;
            };
            let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
            let value = String::from_utf8_lossy(&attribute.value).into_owned();
            if matches!(name.as_str(), "action" | "statusCallback" | "recordingStatusCallback" | "url")
                && !["http://", "https://", "wss://", "ws://"].iter().any(|s| value.starts_with(s))
            {
                faults.push(format!("{name}=\"{value}\" in Twiml must be an absolute URL"));
            }
        }
    }
    if depth != 0 || roots != 1 {
        faults.push("TwiML is not well formed: one closed Response is wanted".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_e164_or_sip_or_client() {
        for good in ["+12025550143", "sip:a@example.com", "client:browser"] {
            assert!(is_address(good), "{good}");
        }
        for wrong in ["", "12025550143", "+1202", "+0202555014", "sip:", "+1 202 555 0143"] {
            assert!(!is_address(wrong), "{wrong}");
        }
    }

    #[test]
    fn twiml_must_be_well_formed_with_absolute_urls() {
        let good = "<?xml version=\"1.0\"?><Response><Dial action=\"https://a.example/x\">\
            <Number>+12025550143</Number></Dial></Response>";
        assert_eq!(twiml_faults(good), Vec::<String>::new());
        for wrong in [
            "<Response><Hangup/>",
            "<Respons/>",
            "hello",
            "<Response><Dial action=\"/x\"/></Response>",
            "<Response/><Response/>",
        ] {
            assert!(!twiml_faults(wrong).is_empty(), "{wrong}");
        }
    }
}
