//! The other replicas.

use super::setting::settings;
use super::validate::{cluster_prefix, redis_url, within};

settings! {
    /// The other replicas.
    pub struct ClusterConfig {
        /// `redis://name:password@host:6379/0`, or `rediss://` for TLS: where replicas that share a PostgreSQL database reach
        /// each other; without it there is one replica.
        url: Option<String> = None, env "REDIS_URL", check redis_url;
        /// What the names of all keys and channels there begin with; one for each installation that shares that Redis.
        prefix: String = "frontdesk".into(), check cluster_prefix;
        /// How long a replica waits for the answer of another one, ms.
        ask_ms: u64 = 500, check within(10, 10_000);
        /// How often a replica tells the database that it is there, ms; at most half the lease.
        heartbeat_ms: u64 = 2_000, check within(50, 60_000);
        /// How long a replica may be silent before its calls are taken over, ms.
        lease_ms: u64 = 6_000, check within(200, 600_000);
    }
}
