//! Keys, users, sign-ins and the staff's audit trail.

use super::TestDb;
use crate::db::Write;
use crate::db::access::{Credential, NewSignIn, UserChange, UserChanged};
use crate::domain::staff::{Role, Scope, StaffAction, Who, WhoKind};
use crate::domain::time::UnixMillis;
use std::time::Duration;

const NOW: UnixMillis = UnixMillis(1_760_000_000_000);

fn later(seconds: u64) -> UnixMillis {
    NOW.after(Duration::from_secs(seconds))
}

fn sign_in(user: i64, generation: i64, hash: &str) -> NewSignIn {
    let (hash, csrf) = (hash.to_owned(), "token".to_owned());
    NewSignIn { hash, user_id: user, generation, csrf, now: NOW, expires: later(100) }
}

#[actix::test]
async fn a_key_is_found_by_its_hash_until_it_is_revoked_and_its_use_is_written_once_a_minute() {
    for test in TestDb::each() {
        let db = test.open();
        let key = db.add_key("till".into(), "h1".into(), Scope::Call, NOW).await.unwrap();
        assert!(
            db.add_key("copy".into(), "h1".into(), Scope::Read, NOW).await.is_err(),
            "a hash is one key's"
        );
        assert_eq!(db.key_by_hash("h2".into(), NOW).await.unwrap(), None);
        for (at, used) in [(0, 0), (59, 0), (60, 60)] {
            let found = db.key_by_hash("h1".into(), later(at)).await.unwrap().unwrap();
            assert_eq!((found.id, found.scope), (key.id, Scope::Call));
            let stored = db.api_keys(None, 10).await.unwrap();
            assert_eq!(stored[0].last_used_at, Some(later(used)), "after {at} s");
        }
        assert!(db.revoke_key(key.id, NOW).await.unwrap());
        assert!(!db.revoke_key(key.id, NOW).await.unwrap());
        assert_eq!(db.key_by_hash("h1".into(), NOW).await.unwrap(), None);
        assert!(db.api_keys(Some(key.id), 10).await.unwrap().is_empty());
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_sign_in_holds_while_it_is_used_and_its_user_stays_the_same() {
    for test in TestDb::each() {
        let db = test.open();
        let user = db.add_user("maria".into(), "x".into(), Role::Admin, true, NOW).await.unwrap().unwrap();
        assert_eq!(db.add_user("maria".into(), "x".into(), Role::Viewer, true, NOW).await.unwrap(), None);
        db.add_sign_in(sign_in(user.id, 0, "a")).await.unwrap();
        db.add_sign_in(sign_in(user.id, 7, "stale")).await.unwrap();
        let found = db.signed_in("a".into(), later(70), later(170)).await.unwrap().unwrap();
        assert_eq!((found.user.id, found.csrf.as_str()), (user.id, "token"));
        assert!(
            db.signed_in("a".into(), later(150), later(250)).await.unwrap().is_some(),
            "its end was moved"
        );
        assert!(db.signed_in("stale".into(), NOW, later(100)).await.unwrap().is_none(), "another generation");
        assert!(db.signed_in("a".into(), later(400), later(500)).await.unwrap().is_none(), "unused too long");
        db.add_sign_in(NewSignIn { now: later(500), expires: later(600), ..sign_in(user.id, 0, "b") })
            .await
            .unwrap();
        let change = UserChange { password: Some(("y".into(), None)), ..UserChange::default() };
        let UserChanged::Done(changed) = db.change_user(user.id, change).await.unwrap() else { panic!() };
        assert!(!changed.one_time);
        assert!(db.signed_in("b".into(), later(501), later(601)).await.unwrap().is_none(), "a new password");
        let known = db.user_by_name("maria".into()).await.unwrap().unwrap();
        assert_eq!((known.hash.as_str(), known.generation), ("y", 1));
        db.add_sign_in(sign_in(user.id, 1, "c")).await.unwrap();
        let out = db.sign_out("c".into()).await.unwrap();
        assert_eq!(out.map(|user| user.name), Some("maria".to_owned()));
        assert_eq!(db.sign_out("c".into()).await.unwrap(), None, "once");
        assert!(db.signed_in("c".into(), NOW, later(100)).await.unwrap().is_none());
        db.shutdown().await;
    }
}

#[actix::test]
async fn whether_a_credential_still_holds_is_asked_without_using_it() {
    for test in TestDb::each() {
        let db = test.open();
        let key = db.add_key("till".into(), "h1".into(), Scope::Read, NOW).await.unwrap();
        let user = db.add_user("maria".into(), "x".into(), Role::Admin, false, NOW).await.unwrap().unwrap();
        db.add_sign_in(sign_in(user.id, 0, "a")).await.unwrap();
        let (by_key, by_cookie) = (Credential::Key("h1".into()), Credential::SignIn("a".into()));
        for at in [0, 99] {
            assert!(db.credential_holds(by_key.clone(), later(at)).await.unwrap());
            assert!(db.credential_holds(by_cookie.clone(), later(at)).await.unwrap());
        }
        assert_eq!(db.api_keys(None, 1).await.unwrap()[0].last_used_at, None);
        assert!(!db.credential_holds(by_cookie.clone(), later(100)).await.unwrap(), "its end was not moved");
        assert!(
            !db.credential_holds(Credential::SignIn("h1".into()), NOW).await.unwrap(),
            "a key is no cookie"
        );
        let out = UserChange { password: Some(("y".into(), None)), ..UserChange::default() };
        db.change_user(user.id, out).await.unwrap();
        assert!(!db.credential_holds(by_cookie, NOW).await.unwrap(), "a new password");
        db.revoke_key(key.id, NOW).await.unwrap();
        assert!(!db.credential_holds(by_key, NOW).await.unwrap(), "revoked");
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_password_that_was_made_for_somebody_has_an_end_and_ones_own_has_none() {
    for test in TestDb::each() {
        let db = test.open();
        let user = db.add_user("maria".into(), "x".into(), Role::Staff, true, NOW).await.unwrap().unwrap();
        let known = || async { db.user_by_name("maria".into()).await.unwrap().unwrap() };
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!((known().await.good_until, known().await.user.one_time), (Some(NOW.after(week)), true));
        for until in [None, Some(later(5)), None] {
            let change = UserChange { password: Some(("y".into(), until)), ..UserChange::default() };
            db.change_user(user.id, change).await.unwrap();
            assert_eq!((known().await.good_until, known().await.user.one_time), (until, until.is_some()));
            // Another role changes nothing about it.
            let change = UserChange { role: Some(Role::Viewer), ..UserChange::default() };
            db.change_user(user.id, change).await.unwrap();
            assert_eq!(known().await.good_until, until);
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn of_two_admins_who_lock_each_other_out_at_once_one_stays() {
    for test in TestDb::each() {
        let db = test.open();
        for round in 0..5 {
            let mut ids = Vec::new();
            for name in ["a", "b"] {
                let name = format!("{name}{round}");
                ids.push(db.add_user(name, "x".into(), Role::Admin, false, NOW).await.unwrap().unwrap().id);
            }
            // Whoever was left of the round before is no admin any more.
            for user in db.users(None, 100).await.unwrap() {
                if !ids.contains(&user.id) {
                    let viewer = UserChange { role: Some(Role::Viewer), ..UserChange::default() };
                    assert!(matches!(db.change_user(user.id, viewer).await.unwrap(), UserChanged::Done(_)));
                }
            }
            let out = || UserChange { disabled: Some(true), ..UserChange::default() };
            let both =
                futures_util::future::join(db.change_user(ids[0], out()), db.change_user(ids[1], out()))
                    .await;
            let refused = [both.0.unwrap(), both.1.unwrap()]
                .iter()
                .filter(|outcome| **outcome == UserChanged::LastAdmin)
                .count();
            assert_eq!(refused, 1, "round {round}");
        }
        assert_eq!(db.change_user(9_999, UserChange::default()).await.unwrap(), UserChanged::Unknown);
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_staff_did_is_listed_newest_first() {
    for test in TestDb::each() {
        let db = test.open();
        let who = Who { kind: WhoKind::User, id: 3, name: "maria".into() };
        for n in 0..3 {
            let detail = serde_json::json!({"n": n});
            let action =
                Box::new(StaffAction { who: who.clone(), action: "test", target: format!("t {n}"), detail });
            db.record(Write::StaffAction { at: later(n), action }).unwrap();
        }
        db.flush().await.unwrap();
        let first = db.staff_actions(None, 2).await.unwrap();
        assert_eq!(first.iter().map(|row| row.target.as_str()).collect::<Vec<_>>(), ["t 2", "t 1"]);
        assert_eq!((&first[0].who, first[0].at, &first[0].detail["n"]), (&who, later(2), &2.into()));
        let rest = db.staff_actions(Some(first[1].id), 2).await.unwrap();
        assert_eq!(rest.iter().map(|row| row.target.as_str()).collect::<Vec<_>>(), ["t 0"]);
        db.shutdown().await;
    }
}
