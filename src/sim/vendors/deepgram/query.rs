//! The query of `/v1/listen`: what Deepgram accepts, and what it refuses. Pure.

/// Parameters that may stand more than once.
const REPEATABLE: &[&str] = &["keyterm", "keywords", "redact", "replace", "search", "tag", "extra"];

const BOOLEANS: &[&str] = &[
    "multichannel",
    "interim_results",
    "vad_events",
    "punctuate",
    "smart_format",
    "no_delay",
    "numerals",
    "filler_words",
    "diarize",
    "profanity_filter",
    "dictation",
    "detect_entities",
    "mip_opt_out",
];

const OTHERS: &[&str] = &[
    "model",
    "language",
    "encoding",
    "sample_rate",
    "channels",
    "endpointing",
    "utterance_end_ms",
    "diarize_model",
    "version",
    "callback",
    "callback_method",
];

const ENCODINGS: &[&str] = &[
    "mulaw", "linear16", "linear32", "flac", "alaw", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729",
];

const MODELS: &[&str] = &[
    "nova-3",
    "nova-3-general",
    "nova-3-medical",
    "nova-2",
    "nova-2-general",
    "nova-2-meeting",
    "nova-2-phonecall",
    "nova-2-finance",
    "nova-2-conversationalai",
    "nova-2-voicemail",
    "nova-2-video",
    "nova-2-medical",
    "nova-2-drivethru",
    "nova-2-automotive",
    "nova",
    "nova-general",
    "nova-phonecall",
    "enhanced",
    "enhanced-general",
    "enhanced-phonecall",
    "base",
    "base-general",
    "base-phonecall",
];

/// How the words of a connection are to be delivered. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// The model asked for.
    pub model: String,
    /// `None`: the audio carries its own header, so raw mu-law cannot be decoded.
    pub encoding: Option<String>,
    /// Interim results.
    pub interim_results: bool,
    /// Silence that ends a stretch of speech; `None` is off.
    pub endpointing_ms: Option<u64>,
    /// Gap between words after which `UtteranceEnd` comes.
    pub utterance_end_ms: Option<u64>,
    /// `SpeechStarted` messages.
    pub vad_events: bool,
    /// Words carry `punctuated_word`, and the transcript keeps case and punctuation.
    pub punctuate: bool,
}

/// A refused query: the HTTP status, Deepgram's code, and the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// `err_code`.
    pub code: &'static str,
    /// `err_msg`.
    pub message: String,
}

fn bad(message: impl Into<String>) -> Refused {
    Refused { status: 400, code: "INVALID_QUERY_PARAMETER", message: message.into() }
}

/// Reads the query. `complaints` takes what Deepgram lets pass but a careful client would not send.
pub fn parse(query: &str, complaints: &mut Vec<String>) -> Result<ListenOptions, Refused> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    for (n, (name, value)) in pairs.iter().enumerate() {
        let name = name.as_str();
        let known = REPEATABLE.contains(&name) || BOOLEANS.contains(&name) || OTHERS.contains(&name);
        if !known {
            complaints.push(format!("unknown query parameter {name}"));
        }
        if !REPEATABLE.contains(&name) && pairs.iter().take(n).any(|(other, _)| other == name) {
            return Err(bad(format!("{name} is given more than once")));
        }
        if BOOLEANS.contains(&name) && value != "true" && value != "false" {
            return Err(bad(format!("{name} must be true or false, not {value}")));
        }
    }
    let get = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let is = |name: &str| get(name) == Some("true");
    let number = |name: &str| -> Result<Option<u64>, Refused> {
        get(name)
            .map(|v| v.parse::<u64>().map_err(|_| bad(format!("{name} must be a whole number, not {v}"))))
            .transpose()
    };

    let model = if let Some(model) = get("model") {
        model
    } else {
        complaints.push("no model: base-general is used".to_owned());
        "base-general"
    };
    if model.starts_with("flux") {
        return Err(bad(format!("{model} is served on /v2/listen only")));
    }
    if !MODELS.contains(&model) {
        return Err(Refused {
            status: 400,
            code: "Bad Request",
            message: "Bad Request: No such model/language/tier combination found.".to_owned(),
        });
    }
    let nova_3 = model.starts_with("nova-3");
    let language = get("language").unwrap_or("en");
    if language.is_empty() || !language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(bad(format!("language {language} is not a BCP-47 tag")));
    }
    if model == "nova-2-phonecall" && language != "en" && language != "en-US" {
        return Err(Refused {
            status: 400,
            code: "Bad Request",
            message: "Bad Request: No such model/language/tier combination found.".to_owned(),
        });
    }

    let encoding = get("encoding");
    if let Some(encoding) = encoding {
        if !ENCODINGS.contains(&encoding) {
            return Err(bad(format!("encoding {encoding} is not supported")));
        }
        match number("sample_rate")? {
            None => return Err(bad("sample_rate is required with encoding")),
            Some(0) => return Err(bad("sample_rate must be positive")),
            Some(8_000) => {}
            Some(_) if encoding != "mulaw" => {}
            Some(other) => complaints.push(format!("mulaw at {other} Hz: the simulator hears 8000 Hz only")),
        }
        if encoding != "mulaw" {
            complaints.push(format!("{encoding} is valid, but the simulator hears mulaw only"));
        }
    } else if get("sample_rate").is_some() || get("channels").is_some() {
        complaints.push("sample_rate and channels are read only together with encoding".to_owned());
    }
    let channels = number("channels")?.unwrap_or(1);
    if channels == 0 || channels > 20 {
        return Err(bad("channels must be 1 to 20"));
    }
    if channels > 1 || is("multichannel") {
        complaints.push("several channels are valid, but the simulator hears one".to_owned());
    }

    let endpointing_ms = match get("endpointing") {
        None | Some("true") => Some(10),
        Some("false") => None,
        Some(v) => {
            Some(v.parse().map_err(|_| bad(format!("endpointing must be false or milliseconds, not {v}")))?)
        }
    };
    let interim_results = is("interim_results");
    let utterance_end_ms = number("utterance_end_ms")?;
    if let Some(ms) = utterance_end_ms {
        if !interim_results {
            return Err(bad("utterance_end_ms requires interim_results=true"));
        }
        if !(1_000..=5_000).contains(&ms) {
            return Err(bad("utterance_end_ms must be between 1000 and 5000"));
        }
    }

    let keyterms: Vec<&str> = pairs.iter().filter(|(n, _)| n == "keyterm").map(|(_, v)| v.as_str()).collect();
    if !keyterms.is_empty() && !nova_3 {
        return Err(bad(format!("keyterm is not supported by {model}")));
    }
    if keyterm_tokens(keyterms.iter().copied()) > 500 {
        return Err(Refused {
            status: 400,
            code: "Bad Request",
            message: "Keyterm limit exceeded. The maximum number of tokens across all keyterms is 500."
                .to_owned(),
        });
    }
    let keywords = pairs.iter().filter(|(n, _)| n == "keywords").count();
    if keywords > 0 && nova_3 {
        return Err(bad("keywords are not supported by nova-3: use keyterm"));
    }
    if keywords > 100 {
        return Err(bad("at most 100 keywords"));
    }
    if pairs.iter().any(|(n, v)| n == "tag" && v.len() > 128) {
        return Err(bad("a tag has at most 128 characters"));
    }

    Ok(ListenOptions {
        model: model.to_owned(),
        encoding: encoding.map(str::to_owned),
        interim_results,
        endpointing_ms,
        utterance_end_ms,
        vad_events: is("vad_events"),
        punctuate: is("punctuate") || is("smart_format"),
    })
}

/// A rough count of tokens, about four letters each.
pub fn keyterm_tokens<'a>(terms: impl Iterator<Item = &'a str>) -> usize {
    terms.flat_map(str::split_whitespace).map(|word| word.len().div_ceil(4)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELEPHONY: &str = "model=nova-3&language=en-US&encoding=mulaw&sample_rate=8000&channels=1\
        &interim_results=true&endpointing=300&utterance_end_ms=1000&vad_events=true&punctuate=true&smart_format=true";

    #[test]
    fn the_documented_telephony_query_is_accepted_without_complaint() {
        let mut complaints = Vec::new();
        let options = parse(TELEPHONY, &mut complaints).unwrap();
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(options.endpointing_ms, Some(300));
        assert_eq!(options.utterance_end_ms, Some(1000));
        assert!(options.vad_events && options.interim_results && options.punctuate);
    }

    #[test]
    fn endpointing_is_on_at_ten_milliseconds_by_default_and_false_turns_it_off() {
        let mut complaints = Vec::new();
        let base = "model=nova-2&encoding=mulaw&sample_rate=8000";
        assert_eq!(parse(base, &mut complaints).unwrap().endpointing_ms, Some(10));
        let off = parse(&format!("{base}&endpointing=false"), &mut complaints).unwrap();
        assert_eq!(off.endpointing_ms, None);
    }

    #[test]
    fn what_deepgram_refuses_is_refused() {
        let long_terms = "&keyterm=appointment".repeat(200);
        let cases = [
            "model=nova-9&encoding=mulaw&sample_rate=8000".to_owned(),
            "model=nova-3-phonecall&encoding=mulaw&sample_rate=8000".to_owned(),
            "model=flux-general-en&encoding=mulaw&sample_rate=8000".to_owned(),
            "model=nova-3&encoding=mulaw".to_owned(),
            "model=nova-3&encoding=ulaw&sample_rate=8000".to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8k".to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8000&utterance_end_ms=1000".to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8000&interim_results=true&utterance_end_ms=500"
                .to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8000&interim_results=1".to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8000&endpointing=soon".to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8000&channels=0".to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8000&model=nova-2".to_owned(),
            "model=nova-2&encoding=mulaw&sample_rate=8000&keyterm=Acme".to_owned(),
            "model=nova-3&encoding=mulaw&sample_rate=8000&keywords=Acme:2".to_owned(),
            "model=nova-2-phonecall&language=de&encoding=mulaw&sample_rate=8000".to_owned(),
            format!("model=nova-3&encoding=mulaw&sample_rate=8000{long_terms}"),
        ];
        for query in cases {
            let refused = parse(&query, &mut Vec::new());
            assert!(refused.is_err(), "{query}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_complained_about() {
        let mut complaints = Vec::new();
        parse(&format!("{TELEPHONY}&vad_turnoff=5"), &mut complaints).unwrap();
        assert_eq!(complaints, ["unknown query parameter vad_turnoff"]);
    }
}
