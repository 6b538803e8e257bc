//! Whose turn it is: what is due, taken by one owner.

use super::*;

/// Id, kind, key, payload and attempts of a job that is due.
type DueRow = (i64, String, String, String, i64);

/// Kinds this version can do; others are left to the version that queued them.
fn kinds() -> Vec<&'static str> {
    JobKind::ALL.iter().map(|kind| kind.as_str()).collect()
}

/// Jobs that can be done anywhere, or at a place.
macro_rules! here {
    ($place:expr) => {
        jobs::place.is_null().or(jobs::place.eq($place))
    };
}

/// Jobs of one state that are due, locked: others pass over them.
pub(super) fn due(
    conn: &mut AnyConnection,
    state: JobState,
    place: Option<&str>,
    now: UnixMillis,
    limit: i64,
) -> Result<Vec<DueRow>, DbError> {
    macro_rules! query {
        () => {
            jobs::table
                .filter(jobs::state.eq(state.as_str()))
                .filter(jobs::next_run_ms.le(now.0))
                .filter(jobs::kind.eq_any(kinds()))
                .filter(here!(place))
                .order((jobs::next_run_ms.asc(), jobs::id.asc()))
                .limit(limit)
                .select((jobs::id, jobs::kind, jobs::key, jobs::payload, jobs::attempts))
        };
    }
    Ok(match conn {
        AnyConnection::Sqlite(c) => query!().load(c)?,
        AnyConnection::Postgres(c) => query!().for_update().skip_locked().load(c)?,
    })
}

/// When the next one is due, or its lease lapses.
pub(super) fn next_due(conn: &mut AnyConnection, place: Option<&str>) -> Result<Option<UnixMillis>, DbError> {
    let mut next = None;
    for state in [JobState::Queued, JobState::Leased] {
        let query = jobs::table
            .filter(jobs::state.eq(state.as_str()))
            .filter(jobs::kind.eq_any(kinds()))
            .filter(here!(place))
            .order(jobs::next_run_ms.asc())
            .select(jobs::next_run_ms)
            .limit(1);
        let found: Option<i64> = on_either!(conn, c => query.get_result(c).optional())?;
        next = match (next, found) {
            (Some(a), Some(b)) => Some(i64::min(a, b)),
            (a, b) => a.or(b),
        };
    }
    Ok(next.map(UnixMillis))
}

/// Takes what is due, at most `limit`, for an owner until a time.
pub(super) fn lease(
    conn: &mut AnyConnection,
    owner: &str,
    place: Option<&str>,
    limit: u32,
    now: UnixMillis,
    until: UnixMillis,
) -> Result<LeasedJobs, DbError> {
    // Looking costs nobody the right to write.
    let first = next_due(conn, place)?;
    if limit == 0 || first.is_none_or(|first| first > now) {
        return Ok(LeasedJobs { jobs: Vec::new(), next_due: first });
    }
    let rows = write_transaction(conn, |conn| {
        let limit = i64::from(limit);
        // Those whose owner was lost have waited longest.
        let mut rows = due(conn, JobState::Leased, place, now, limit)?;
        let left = limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(limit));
        rows.extend(due(conn, JobState::Queued, place, now, left)?);
        for (id, _, _, _, attempts) in &mut rows {
            *attempts = attempts.saturating_add(1);
            diesel::update(jobs::table.find(*id))
                .set((
                    jobs::state.eq(JobState::Leased.as_str()),
                    jobs::attempts.eq(*attempts),
                    jobs::next_run_ms.eq(until.0),
                    jobs::lease_until_ms.eq(Some(until.0)),
                    jobs::lease_owner.eq(Some(owner)),
                ))
                .execute(conn)?;
        }
        Ok(rows)
    })?;
    let next_due = next_due(conn, place)?;
    let jobs = rows
        .into_iter()
        .map(|(id, kind, key, payload, attempt)| {
            let lease = JobLease { id, attempt: attempts(attempt), owner: owner.to_owned() };
            let kind = JobKind::from_word(&kind).ok_or(DbError::Word { column: "jobs.kind" })?;
            // Work that needs to know what cannot be read fails for itself, and not the others with it.
            let payload = serde_json::from_str(&payload).unwrap_or(Value::Null);
            Ok(LeasedJob { lease, kind, key, payload })
        })
        .collect::<Result<_, DbError>>()?;
    Ok(LeasedJobs { jobs, next_due })
}
