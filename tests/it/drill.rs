//! The drill of `frontdesk simulate drill`, made small: every fault at once, each for a call of its own, and a few calls
//! beside them that must not notice.

use crate::support::{Desk, barbershop};
use frontdesk::cli::drill::{all_at_once, drills, vendors};

/// Calls beside those that meet a fault.
const OTHERS: usize = 10;

#[actix::test]
async fn every_call_that_meets_a_fault_ends_well_and_those_beside_them_do_not_notice() {
    let desk = || async { Desk::with(barbershop(), vendors().unwrap(), |_| {}).await };
    let (faulty, sound) = (desk().await, desk().await);
    let drills = drills();
    let (nothing, all) = drills.split_at(1);
    assert!(nothing[0].name == "nothing" && all.len() >= 10);
    // The same number of calls, at the same time, on the same machine: what differs is what the faults do.
    let (faults, usual) =
        tokio::join!(all_at_once(faulty.stack(), all, OTHERS), all_at_once(sound.stack(), nothing, OTHERS));
    let ((met, beside), (unhurt, usual)) = (faults.unwrap(), usual.unwrap());
    for met in met.iter().chain(&unhurt) {
        assert!(met.is_well(), "{met:?}");
    }
    for others in [&beside, &usual] {
        assert_eq!((others.calls, others.well), (OTHERS, OTHERS), "{others:?}");
    }
    eprintln!("beside {:?}, usual {:?}", beside.turns, usual.turns);
    let (slower, than) = (beside.turns.p50, usual.turns.p50);
    assert!(slower < than * 1.25, "turns take {slower} ms beside faults and {than} ms without");
    faulty.close().await;
    sound.close().await;
}
