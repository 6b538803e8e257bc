//! What vendors charge, and how much may be spent.

use super::setting::settings;
use crate::domain::usage::Item;

/// Millionths of a unit of currency.
const MICROS: f64 = 1_000_000.0;
const MINUTE_MS: f64 = 60_000.0;
const THOUSAND: f64 = 1_000.0;
/// Applies to every model that has no price of its own.
const ANY: &str = "*";

settings! {
    /// What vendors charge, and how much may be spent: figures of your own contracts, in one currency.
    pub struct PricesConfig {
        /// The currency, for display.
        currency: String = "USD".into();
        /// One minute of speech recognition.
        stt_minute: Option<f64> = Some(0.0077), check price;
        /// A thousand characters spoken.
        tts_1k_chars: Option<f64> = Some(0.15), check price;
        /// One minute on the telephone network.
        carrier_minute: Option<f64> = Some(0.0125), check price;
        /// Language models, a thousand tokens each: `MODEL=INPUT/OUTPUT`; `*` is any other model.
        llm_1k_tokens: Vec<String> = vec!["gpt-4o=0.0025/0.01".into(), "gpt-4o-mini=0.00015/0.0006".into()], check models;
        /// A call that has cost so much is ended with a word of apology.
        call_cap: Option<f64> = None, check price;
        /// So is every call of a day of the business's that has cost so much; no other is let in or placed that day.
        day_cap: Option<f64> = None, check price;
        /// The same for a day's calls with one number, the caller's or the one that is rung.
        number_cap: Option<f64> = None, check price;
    }
}

fn price(value: &Option<f64>) -> Result<(), String> {
    match value {
        Some(number) if !(0.0..=1_000_000.0).contains(number) => {
            Err("a number from 0 to 1000000, or `none`".to_owned())
        }
        _ => Ok(()),
    }
}

fn models(value: &[String]) -> Result<(), String> {
    match value.iter().all(|entry| read(entry).is_some()) {
        true => Ok(()),
        false => Err("entries like gpt-4o=0.0025/0.01".to_owned()),
    }
}

/// Model, and the price of a thousand tokens in and out.
fn read(entry: &str) -> Option<(&str, f64, f64)> {
    let (model, prices) = entry.rsplit_once('=')?;
    let (input, output) = prices.split_once('/')?;
    let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| (0.0..=1_000_000.0).contains(n));
    Some((model.trim(), number(input)?, number(output)?)).filter(|(model, ..)| !model.is_empty())
}

/// A limit on what a day may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayLimit {
    /// All calls together.
    All,
    /// The calls with one number.
    Number,
}

impl DayLimit {
    /// The word for audit rows and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "day",
            Self::Number => "number",
        }
    }
}

impl PricesConfig {
    /// Which limit is reached by a day on which so much was spent, in millionths: in all, and with one number.
    pub fn reached(&self, all: i64, number: i64) -> Option<DayLimit> {
        let over = |cap: Option<f64>, spent: i64| cap.is_some_and(|cap| spent >= whole(cap));
        if over(self.day_cap, all) {
            Some(DayLimit::All)
        } else {
            over(self.number_cap, number).then_some(DayLimit::Number)
        }
    }

    /// The price of so much of an item, in millionths; nothing where no price is known.
    pub fn micros(&self, item: Item, model: &str, amount: u64) -> i64 {
        let (price, unit) = match item {
            Item::SttMs => (self.stt_minute, MINUTE_MS),
            Item::TtsChars => (self.tts_1k_chars, THOUSAND),
            Item::CarrierMs => (self.carrier_minute, MINUTE_MS),
            Item::LlmInput => (self.model(model).map(|(input, _)| input), THOUSAND),
            Item::LlmOutput => (self.model(model).map(|(_, output)| output), THOUSAND),
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "amounts of a call are far below 2^52; a float that is too large becomes the largest integer"
        )]
        let micros = (price.unwrap_or(0.0) * MICROS * amount as f64 / unit).round() as i64;
        micros.max(0)
    }

    /// What a call may cost, in millionths.
    pub fn call_cap_micros(&self) -> Option<i64> {
        self.call_cap.map(whole)
    }

    /// `model` may carry its host's name before it (`api.openai.com/gpt-4o`), and the host a date after it.
    fn model(&self, model: &str) -> Option<(f64, f64)> {
        let entries = || self.llm_1k_tokens.iter().filter_map(|entry| read(entry));
        let is =
            |name: &str| model == name || model.strip_suffix(name).is_some_and(|host| host.ends_with('/'));
        let own = entries().find(|(name, ..)| is(name));
        own.or_else(|| entries().find(|(name, ..)| *name == ANY)).map(|(_, input, output)| (input, output))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked to lie below a million when it was read")]
fn whole(price: f64) -> i64 {
    (price * MICROS).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_its_price_by_its_own_unit() {
        let prices = PricesConfig {
            stt_minute: Some(0.006),
            tts_1k_chars: Some(0.1),
            carrier_minute: None,
            llm_1k_tokens: vec!["a/m1=1/2".into(), "m2 = 0.5/0.25".into()],
            ..PricesConfig::default()
        };
        for (item, model, amount, micros) in [
            (Item::SttMs, "", 90_000, 9_000),
            (Item::TtsChars, "", 50, 5_000),
            (Item::CarrierMs, "", 60_000, 0),
            (Item::LlmInput, "host/a/m1", 1_500, 1_500_000),
            (Item::LlmOutput, "host/a/m1", 1_500, 3_000_000),
            (Item::LlmInput, "m2", 1_000, 500_000),
            (Item::LlmInput, "xm2", 1_000, 0),
            (Item::LlmOutput, "unknown", 1_000, 0),
            (Item::TtsChars, "", u64::MAX, i64::MAX),
        ] {
            assert_eq!(prices.micros(item, model, amount), micros, "{item} {model}");
        }
        let rest = PricesConfig { llm_1k_tokens: vec!["m=1/1".into(), "*=2/2".into()], ..prices };
        assert_eq!(rest.micros(Item::LlmInput, "unknown", 1_000), 2_000_000);
        assert_eq!(rest.micros(Item::LlmInput, "h/m", 1_000), 1_000_000);
    }

    #[test]
    fn only_whole_entries_are_prices() {
        for wrong in ["", "m", "m=1", "m=1/x", "=1/2", "m=-1/2", "m=1/NaN", "m=1/2/3"] {
            assert!(models(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(models(&PricesConfig::default().llm_1k_tokens).is_ok());
        assert!(price(&Some(f64::NAN)).is_err() && price(&Some(-0.1)).is_err() && price(&None).is_ok());
        let capped = PricesConfig { call_cap: Some(0.5), ..PricesConfig::default() };
        assert_eq!((capped.call_cap_micros(), capped.reached(i64::MAX, i64::MAX)), (Some(500_000), None));
    }

    #[test]
    fn a_day_is_over_at_its_limit_and_so_is_a_numbers() {
        let prices = PricesConfig { day_cap: Some(2.0), number_cap: Some(0.5), ..PricesConfig::default() };
        for (all, number, reached) in [
            (1_999_999, 499_999, None),
            (1_999_999, 500_000, Some(DayLimit::Number)),
            (2_000_000, 0, Some(DayLimit::All)),
        ] {
            assert_eq!(prices.reached(all, number), reached, "{all} {number}");
        }
    }
}
