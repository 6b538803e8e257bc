//! The way in: where a request comes from, how much is let through, and what every answer carries.

use super::access::admit;
use super::openapi::Document;
use super::problem::Problem;
use super::secret::fingerprint;
use super::throttle::{NAME_WAIT, Throttle};
use crate::cluster::{self, Cluster, Verdict};
use crate::config::Config;
use crate::config::limits::{LimitsConfig, Network};
use crate::domain::staff::{Who, WhoKind};
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpRequest, web};
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What a page may load: nothing from elsewhere, nothing inline.
pub const CONTENT_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// Passwords that are checked at once: each takes 19 MiB.
const CHECKED_AT_ONCE: usize = 4;
/// Refused sign-ins that are written to the staff's audit trail, a minute.
const NOTED_REFUSALS: u32 = 60;
/// How often what is not needed any more is forgotten.
const TIDY: Duration = Duration::from_secs(60);

/// Of the wrong sign-ins beyond those that are free, so many come before the waits are as long as they get: a name's.
const NAME_STEPS: u32 = 6;
/// The same of an address.
const ADDRESS_STEPS: u32 = 10;

/// What the whole process lets in; one for all its threads. What a key, a user, an address or a sign-in may do is limited
/// here first and then, where there are other replicas, for all of them together.
pub struct Gate {
    /// Scheme and authority of our public address.
    origin: String,
    secure: bool,
    proxies: Vec<Network>,
    draining: AtomicBool,
    addresses: Limit<IpAddr>,
    people: Limit<(WhoKind, i64)>,
    unsigned: Limit<IpAddr>,
    callers: Limit<String>,
    numbers: Limit<String>,
    /// Refused sign-ins that are written down.
    refusals: Limit<()>,
    throttle: Mutex<Throttle>,
    /// How many streams of events each has open.
    streams: Mutex<HashMap<(WhoKind, i64), usize>>,
    streams_each: usize,
    /// How often a stream shows a sign of life, and whether its reader still may is asked.
    pub(super) pulse: Duration,
    started: Instant,
    cluster: Cluster,
    shared: SharedQuotas,
    /// Held while a password is checked.
    pub(super) passwords: Arc<Semaphore>,
}

/// What all replicas together let through.
struct SharedQuotas {
    address: cluster::Quota,
    who: cluster::Quota,
    name_sign_ins: cluster::Quota,
    address_sign_ins: cluster::Quota,
}

impl SharedQuotas {
    fn new(limits: &LimitsConfig) -> Self {
        // As the waits of one replica: so many tries until the waits are longest, then one each time.
        let sign_ins = |steps: u32, longest: Duration| {
            let units = limits.sign_in_failures.saturating_add(steps);
            cluster::Quota { units, per: longest.saturating_mul(units) }
        };
        let longest = Duration::from_secs(limits.sign_in_wait_s);
        Self {
            address: cluster::Quota::per_minute(limits.address_per_minute),
            who: cluster::Quota::per_minute(limits.who_per_minute),
            name_sign_ins: sign_ins(NAME_STEPS, longest.min(NAME_WAIT)),
            address_sign_ins: sign_ins(ADDRESS_STEPS, longest),
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// So many a minute for each.
struct Limit<K: Hash + Eq + Clone>(DefaultKeyedRateLimiter<K>);

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(per_minute: u32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN))))
    }

    /// Takes one; if there is none left, says for how many seconds.
    fn take(&self, key: &K) -> Result<(), u64> {
        self.0.check_key(key).map_err(|until| seconds(until.wait_time_from(self.0.clock().now())))
    }

    fn tidy(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }
}

impl Gate {
    /// Made once, at the start.
    pub fn new(config: &Config, cluster: Cluster) -> Self {
        let limits = &config.limits;
        let base = url::Url::parse(&config.server.base_url).ok();
        let origin = base.map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        Self {
            secure: origin.starts_with("https:"),
            origin,
            proxies: limits.proxies(),
            draining: AtomicBool::new(false),
            addresses: Limit::new(limits.address_per_minute),
            people: Limit::new(limits.who_per_minute),
            unsigned: Limit::new(limits.unsigned_per_minute),
            callers: Limit::new(limits.caller_per_minute),
            numbers: Limit::new(limits.number_per_minute),
            refusals: Limit::new(NOTED_REFUSALS),
            throttle: Mutex::new(Throttle::new(
                limits.sign_in_failures,
                Duration::from_secs(limits.sign_in_wait_s),
            )),
            streams: Mutex::default(),
            streams_each: limits.streams_each,
            pulse: Duration::from_secs(limits.stream_pulse_s),
            started: Instant::now(),
            cluster,
            shared: SharedQuotas::new(limits),
            passwords: Arc::new(Semaphore::new(CHECKED_AT_ONCE)),
        }
    }

    /// Whether we are reached over TLS only.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// From now on we are not ready for more.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether we are about to stop.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Forgets, from time to time, whom nothing has been heard of. Never ends.
    pub async fn keep_tidy(self: Arc<Self>) {
        let mut clock = tokio::time::interval(TIDY);
        loop {
            clock.tick().await;
            self.addresses.tidy();
            self.people.tidy();
            self.unsigned.tidy();
            self.callers.tidy();
            self.numbers.tidy();
        }
    }

    /// Takes one unit of what all replicas share; if there is none left, says for how many seconds. What cannot be found
    /// out is let through: our own limit has had its say.
    async fn take_shared(&self, key: impl FnOnce() -> String, quota: cluster::Quota) -> Result<(), u64> {
        if self.cluster.is_alone() {
            return Ok(());
        }
        match self.cluster.spend(&key(), quota).await {
            Some(Verdict::Refused(wait)) => Err(seconds(wait)),
            Some(Verdict::Granted) | None => Ok(()),
        }
    }

    /// Counts a request of somebody who was recognised.
    pub async fn count(&self, who: &Who) -> Result<(), Problem> {
        self.people.take(&(who.kind, who.id)).map_err(Problem::too_many)?;
        let key = || format!("{}:{}", who.kind.as_str(), who.id);
        self.take_shared(key, self.shared.who).await.map_err(Problem::too_many)
    }

    /// Counts a request from an address; if there were too many, says for how many seconds no more are looked at.
    async fn count_address(&self, address: IpAddr) -> Result<(), u64> {
        let network = network_of(address);
        self.addresses.take(&network)?;
        self.take_shared(|| format!("address:{network}"), self.shared.address).await
    }

    /// Counts a request to `/voice` that was not signed; says for how many seconds no more are looked at.
    pub fn unsigned_voice(&self, address: IpAddr) -> Result<(), u64> {
        self.unsigned.take(&network_of(address))
    }

    /// Counts a call; false if there were too many from this number or to that one.
    pub fn lets_call(&self, caller: Option<&str>, number: &str) -> bool {
        let caller = caller.is_none_or(|caller| self.callers.take(&caller.to_owned()).is_ok());
        caller && self.numbers.take(&number.to_owned()).is_ok()
    }

    /// Counts an attempt to sign in.
    pub async fn sign_in(&self, name: &str, address: IpAddr) -> Result<(), Problem> {
        let network = network_of(address);
        {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            let attempt = throttle.attempt(name, network, self.started.elapsed());
            attempt.map_err(|wait| Problem::too_many(seconds(wait)))?;
        }
        let (by_address, by_name) = (|| sign_in_address(network), || sign_in_name(name));
        self.take_shared(by_address, self.shared.address_sign_ins).await.map_err(Problem::too_many)?;
        self.take_shared(by_name, self.shared.name_sign_ins).await.map_err(Problem::too_many)
    }

    /// The attempt was right: the name's failures are forgotten, and the address's last one.
    pub fn signed_in(&self, name: &str, address: IpAddr) {
        let network = network_of(address);
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.succeeded(name, network);
        drop(throttle);
        if !self.cluster.is_alone() {
            self.cluster.give_back(&sign_in_name(name), None);
            self.cluster.give_back(&sign_in_address(network), Some(self.shared.address_sign_ins));
        }
    }

    /// Whether a refused sign-in is to be written down: not more often than the trail can bear.
    pub(super) fn notes_refusal(&self) -> bool {
        self.refusals.take(&()).is_ok()
    }

    /// Lets somebody watch one stream more, for as long as the place is held; none if they watch enough already.
    pub(super) fn watch(self: &Arc<Self>, who: &Who) -> Option<StreamPlace> {
        let who = (who.kind, who.id);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let open = streams.entry(who).or_insert(0);
        if *open >= self.streams_each {
            return None;
        }
        *open = open.saturating_add(1);
        Some(StreamPlace { gate: Arc::clone(self), who })
    }

    /// Where a request comes from: the peer, or what our own proxies say of it.
    pub fn address(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> IpAddr {
        let peer = peer.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).to_canonical();
        if !self.trusted(peer) {
            return peer;
        }
        // Each proxy appends whom it heard; what stands left of the first stranger is that stranger's own word.
        let forwarded: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let mut client = peer;
        for hop in forwarded.iter().rev() {
            let Ok(hop) = hop.trim().parse::<IpAddr>() else { break };
            client = hop.to_canonical();
            if !self.trusted(client) {
                break;
            }
        }
        client
    }

    fn trusted(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }

    /// Whether a request was sent by a page of ours, or by no page at all.
    pub fn own_origin(&self, headers: &HeaderMap, host: &str) -> bool {
        headers.get_all(ORIGIN).all(|origin| {
            origin.to_str().is_ok_and(|origin| {
                let authority = origin.strip_prefix("https://").or_else(|| {
                    // Over TLS only, a page without TLS is none of ours.
                    if self.secure { None } else { origin.strip_prefix("http://") }
                });
                origin == self.origin || authority.is_some_and(|authority| authority == host)
            })
        })
    }
}

/// A stream that somebody watches.
pub(super) struct StreamPlace {
    gate: Arc<Gate>,
    who: (WhoKind, i64),
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut streams = self.gate.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let left = streams.get(&self.who).map_or(0, |open| open.saturating_sub(1));
        if left == 0 {
            streams.remove(&self.who);
        } else {
            streams.insert(self.who, left);
        }
    }
}

/// The shared limit of a name's sign-ins. Names are no business of whoever reads a Redis, and may be long.
fn sign_in_name(name: &str) -> String {
    format!("sign-in:name:{}", fingerprint(name))
}

/// The shared limit of an address's sign-ins.
fn sign_in_address(network: IpAddr) -> String {
    format!("sign-in:address:{network}")
}

/// What is limited as one: an IPv4 address, or the network that an IPv6 customer gets.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Around every route: counts requests to `/api`, turns errors into problems, adds the headers that protect a page.
pub async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let path = routed_path(request.request());
    if is_below(path, "/voice") {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    let api = is_below(path, "/api");
    let gate = request.app_data::<web::Data<Gate>>().cloned();
    let secure = gate.as_ref().is_some_and(|gate| gate.secure());
    let refused = if api {
        let refused = match &gate {
            Some(gate) => refusal(gate, &request).await,
            None => None,
        };
        match refused {
            // Who asks comes before what they ask for.
            None => stranger(&request).await.or_else(|| unreadable(&request)),
            refused => refused,
        }
    } else {
        None
    };
    let mut response = match refused {
        Some(problem) => {
            let answer = problem.response(Some(request.path()));
            request.into_response(answer).map_into_right_body()
        }
        None if api && !request.method().is_safe() => told(whole(next.call(request)).await?, api),
        None => told(next.call(request).await?, api),
    };
    protect(response.headers_mut(), api, secure);
    Ok(response)
}

/// Has an answer made to its end even if whoever asked hangs up meanwhile: else something could be done without being
/// written to the audit trail.
async fn whole<T: 'static>(
    answer: impl Future<Output = Result<T, actix_web::Error>> + 'static,
) -> Result<T, actix_web::Error> {
    match actix_rt::spawn(answer).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "a request was not answered");
            Err(Problem::internal().into())
        }
    }
}

/// The path by which a route is found, with what was percent-encoded decoded. Whatever is decided about a request by its
/// path is decided by this one: `/%61pi/calls` is `/api/calls`.
pub(super) fn routed_path(request: &HttpRequest) -> &str {
    request.match_info().as_str()
}

/// Whether a path is `folder` or lies in it.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn host_of(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// Why a request is not even looked at.
async fn refusal(gate: &Gate, request: &ServiceRequest) -> Option<Problem> {
    let headers = request.headers();
    // Whoever asks whether we live must hear it under load above all.
    if !matches!(routed_path(request.request()), "/api/health" | "/api/ready") {
        let address = gate.address(request.peer_addr().map(|peer| peer.ip()), headers);
        if let Err(wait) = gate.count_address(address).await {
            return Some(Problem::too_many(wait));
        }
    }
    // A key in a header cannot be sent by somebody else's page without our leave; a cookie can.
    let keyed = headers.contains_key("authorization");
    if !keyed && !gate.own_origin(headers, host_of(headers)) {
        return Some(Problem::forbidden("the request comes from another site's page"));
    }
    None
}

/// Why the address itself is refused: no text here can hold a NUL character.
fn unreadable(request: &ServiceRequest) -> Option<Problem> {
    let text = request.uri().path_and_query().map_or("", |text| text.as_str());
    text.contains("%00").then(|| Problem::invalid("address", "holds a NUL character"))
}

/// Why somebody may not use a closed route. Who may is remembered with the request.
async fn stranger(request: &ServiceRequest) -> Option<Problem> {
    let document = request.app_data::<web::Data<Document>>()?;
    if !document.is_closed(request.method(), routed_path(request.request())) {
        return None;
    }
    match admit(request.request()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            None
        }
        Err(problem) => Some(problem),
    }
}

/// An error as a problem that names the path it is about.
fn told<B: MessageBody + 'static>(response: ServiceResponse<B>, api: bool) -> ServiceResponse<EitherBody<B>> {
    let Some(error) = response.response().error().filter(|_| api) else {
        return response.map_into_left_body();
    };
    let path = Some(response.request().path());
    let answer = match error.as_error::<Problem>() {
        Some(problem) => problem.response(path),
        None => Problem::of(response.status()).response(path),
    };
    response.into_response(answer).map_into_right_body()
}

fn protect(headers: &mut HeaderMap, api: bool, secure: bool) {
    let mut add = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    add(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    add(X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(X_FRAME_OPTIONS, "DENY");
    add(REFERRER_POLICY, "no-referrer");
    add(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    add(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    add(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(self)");
    if secure {
        add(STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if api {
        add(CACHE_CONTROL, "no-store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Hub;
    use crate::domain::ids::ReplicaId;

    fn gate(change: impl FnOnce(&mut Config)) -> Gate {
        let mut config = Config::default();
        change(&mut config);
        Gate::new(&config, Cluster::alone(ReplicaId::from_bits(1)))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn only_our_own_proxies_are_believed_about_an_address() {
        let gate = gate(|c| c.limits.trusted_proxies = vec!["10.0.0.0/8".into()]);
        for (peer, forwarded, want) in [
            ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "nonsense", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ] {
            let headers = headers(&[("x-forwarded-for", forwarded)]);
            let address = gate.address(Some(peer.parse().unwrap()), &headers);
            assert_eq!(address, want.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_told_from_ours() {
        let plain = gate(|c| c.server.base_url = "http://127.0.0.1:3100/".into());
        let secure = gate(|c| c.server.base_url = "https://desk.example.com/x".into());
        for (gate, origin, host, want) in [
            (&plain, "http://127.0.0.1:3100", "x", true),
            (&plain, "http://localhost:3100", "localhost:3100", true),
            (&plain, "http://localhost:3101", "localhost:3100", false),
            (&plain, "null", "localhost:3100", false),
            (&plain, "https://evil.example", "localhost:3100", false),
            (&secure, "https://desk.example.com", "10.0.0.1", true),
            (&secure, "http://desk.example.com", "desk.example.com", false),
            (&secure, "https://desk.example.com.evil.example", "desk.example.com", false),
        ] {
            assert_eq!(gate.own_origin(&headers(&[("origin", origin)]), host), want, "{origin}");
        }
        assert!(secure.own_origin(&headers(&[]), "x"), "no page at all");
    }

    #[actix::test]
    async fn a_minutes_worth_may_come_at_once_and_then_somebody_waits() {
        let gate = gate(|c| {
            c.limits.who_per_minute = 3;
            c.limits.caller_per_minute = 2;
            c.limits.number_per_minute = 4;
        });
        let who = |id| Who { kind: WhoKind::Key, id, name: "x".into() };
        for _ in 0..3 {
            gate.count(&who(1)).await.unwrap();
        }
        assert_eq!(gate.count(&who(1)).await.unwrap_err().status(), 429);
        gate.count(&who(2)).await.unwrap();
        let calls: Vec<bool> = (0..3).map(|_| gate.lets_call(Some("+1"), "+9")).collect();
        assert_eq!(calls, [true, true, false]);
        assert!(gate.lets_call(None, "+9") && gate.lets_call(Some("+2"), "+9"));
        assert!(!gate.lets_call(Some("+3"), "+9"), "the number's own limit");
    }

    /// Three replicas behind one address.
    fn replicas(change: impl Fn(&mut Config)) -> (Hub, Vec<Gate>) {
        let hub = Hub::new();
        let mut config = Config::default();
        change(&mut config);
        let gates = (1..=3).map(|n| Gate::new(&config, hub.join(ReplicaId::from_bits(n)))).collect();
        (hub, gates)
    }

    #[actix::test]
    async fn what_one_may_ask_for_is_no_more_with_more_replicas() {
        let (hub, gates) = replicas(|c| {
            c.limits.who_per_minute = 3;
            c.limits.address_per_minute = 3;
        });
        let who = Who { kind: WhoKind::User, id: 1, name: "x".into() };
        let address = "192.0.2.1".parse().unwrap();
        for gate in &gates {
            gate.count(&who).await.unwrap();
            gate.count_address(address).await.unwrap();
        }
        for gate in &gates {
            assert_eq!(gate.count(&who).await.unwrap_err().status(), 429);
            let wait = gate.count_address(address).await.unwrap_err();
            assert!((1..=20).contains(&wait), "{wait} s");
            gate.count_address("192.0.2.2".parse().unwrap()).await.unwrap();
        }
        // Without the others, each has its own limit only.
        hub.cut(&ReplicaId::from_bits(1));
        gates[0].count(&who).await.unwrap();
        assert_eq!(gates[0].count(&who).await.unwrap_err().status(), 429);
    }

    #[actix::test]
    async fn wrong_passwords_are_counted_at_all_replicas_together() {
        let (_hub, gates) = replicas(|c| c.limits.sign_in_failures = 5);
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        // Each replica alone would let five through.
        let mut passed = 0;
        for (n, gate) in gates.iter().cycle().take(15).enumerate() {
            passed += u32::from(gate.sign_in("maria", address(n as u8)).await.is_ok());
        }
        assert_eq!(passed, 5 + NAME_STEPS);
        let (_hub, gates) = replicas(|c| c.limits.sign_in_failures = 7);
        let mut passed = 0;
        for (n, gate) in gates.iter().cycle().take(21).enumerate() {
            passed += u32::from(gate.sign_in(&format!("user{n}"), address(1)).await.is_ok());
        }
        assert_eq!(passed, 7 + ADDRESS_STEPS);
    }

    #[actix::test]
    async fn people_who_know_their_passwords_sign_in_as_often_as_they_like() {
        let (_hub, gates) = replicas(|_| {});
        let address = "192.0.2.1".parse().unwrap();
        for gate in gates.iter().cycle().take(60) {
            gate.sign_in("maria", address).await.unwrap();
            gate.signed_in("maria", address);
        }
    }

    #[test]
    fn one_who_watches_enough_streams_gets_another_when_one_has_ended() {
        let gate = Arc::new(gate(|c| c.limits.streams_each = 2));
        let who = |id| Who { kind: WhoKind::Key, id, name: "x".into() };
        let (first, second) = (gate.watch(&who(1)), gate.watch(&who(1)));
        assert!(first.is_some() && second.is_some() && gate.watch(&who(1)).is_none());
        assert!(gate.watch(&who(2)).is_some(), "somebody else's are their own");
        drop(first);
        let again = gate.watch(&who(1));
        assert!(again.is_some() && gate.watch(&who(1)).is_none());
        drop((second, again));
        assert!(gate.streams.lock().unwrap().is_empty(), "nothing is kept");
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let gate = gate(|c| c.limits.unsigned_per_minute = 1);
        gate.unsigned_voice("2001:db8::1".parse().unwrap()).unwrap();
        assert!(gate.unsigned_voice("2001:db8::2".parse().unwrap()).is_err());
        gate.unsigned_voice("2001:db8:0:1::2".parse().unwrap()).unwrap();
    }
}
