//! Recording of calls: whether, where, how long they are kept.

use super::setting::settings;
use super::validate::{recordings_place, required, within};
use secrecy::SecretString;

settings! {
    /// Recording of calls.
    pub struct RecordingConfig {
        /// Whether calls are recorded. A profile's `recording_notice` is spoken before.
        enabled: bool = false, env "RECORDING";
        /// Where recordings are kept: a folder, or `s3://bucket/prefix` (needs a binary built with the feature `s3`).
        url: String = "data/recordings".into(), env "RECORDINGS_URL", check recordings_place;
        /// With S3: the folder in which a recording lies until it is uploaded.
        spool: String = "data/recordings".into(), check required;
        /// A call's audio is handed to the disk in blocks of this length, ms.
        block_ms: u64 = 250, check within(100, 5_000);
        /// Blocks that may wait for the disk, all calls together; what comes then is dropped and counted.
        queue: usize = 4_000, check within(1, 100_000);
        /// Address of an S3-compatible store that is not Amazon's.
        s3_base_url: Option<String> = None;
        /// Its region.
        s3_region: String = "us-east-1".into(), env "AWS_REGION", check required;
        /// The longest that one request to it may take, an upload included, s.
        s3_timeout_s: u64 = 120, check within(1, 3_600);
        /// Its access key's id.
        s3_access_key_id: Option<SecretString> = None, env "AWS_ACCESS_KEY_ID";
        /// Its access key.
        s3_secret_access_key: Option<SecretString> = None, env "AWS_SECRET_ACCESS_KEY";
    }
}

impl RecordingConfig {
    /// The folder in which recordings are written.
    pub fn folder(&self) -> &str {
        if self.bucket().is_some() { &self.spool } else { &self.url }
    }

    /// Bucket and prefix, if recordings go to an object store.
    pub fn bucket(&self) -> Option<(&str, &str)> {
        let rest = self.url.strip_prefix("s3://")?;
        Some(rest.split_once('/').unwrap_or((rest, "")))
    }
}
