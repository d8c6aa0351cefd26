//! Bodies that panic, fail, fall silent and are told to stop.

use std::sync::mpsc::sync_channel;

use jiff::Timestamp;

use super::*;
use crate::runtime::clock::SimulatedClock;

fn watch() -> (WorkerRegistry, SimulatedClock) {
    let clock = SimulatedClock::at(Timestamp::UNIX_EPOCH);
    (WorkerRegistry::new(Arc::new(clock.clone())), clock)
}

const QUICK: RestartPolicy = RestartPolicy {
    max_restarts: 3,
    window: Duration::from_secs(60),
    first_wait: Duration::from_millis(1),
    most_wait: Duration::from_millis(2),
};

#[test]
fn a_panicking_body_is_run_again_and_may_still_succeed() {
    let (watch, _) = watch();
    let mut runs = 0;
    let body = move |_: &WorkerContext| {
        runs += 1;
        assert!(runs > 2, "boom {runs}");
        Ok(())
    };
    let health = watch.spawn("an-dock", QUICK, StopToken::new(), body).unwrap().join();
    assert_eq!((health.state, health.restarts), (WorkerState::Ended, 2));
    assert_eq!(health.last_error.as_deref(), Some("panicked: boom 2"));
}

#[test]
fn a_body_that_fails_too_often_is_given_up_and_stays_on_the_list() {
    let (watch, _) = watch();
    let worker = watch.spawn("src-dock", QUICK, StopToken::new(), |_| Err("no camera".into())).unwrap();
    assert_eq!(worker.join().state, WorkerState::Failed);
    let list = watch.list();
    assert_eq!((list.len(), list[0].restarts, list[0].last_error.as_deref()), (1, 3, Some("no camera")));
    watch.remove("src-dock");
    assert!(watch.list().is_empty());
}

#[test]
fn failures_that_are_far_apart_never_add_up() {
    let (watch, clock) = watch();
    let mut runs = 0;
    let body = move |_: &WorkerContext| {
        runs += 1;
        clock.advance(Duration::from_secs(61));
        if runs < 20 { Err("again".into()) } else { Ok(()) }
    };
    let health = watch.spawn("src-a", QUICK, StopToken::new(), body).unwrap().join();
    assert_eq!((health.state, health.restarts), (WorkerState::Ended, 19));
}

#[test]
fn a_stop_cuts_the_wait_before_a_restart_short() {
    let (watch, _) = watch();
    let patient =
        RestartPolicy { first_wait: Duration::from_secs(600), most_wait: Duration::from_secs(600), ..QUICK };
    let (tx, rx) = sync_channel(1);
    let body = move |_: &WorkerContext| {
        tx.send(()).unwrap();
        Err("no".into())
    };
    let worker = watch.spawn("src-a", patient, StopToken::new(), body).unwrap();
    rx.recv().unwrap();
    worker.stop();
    assert_eq!(worker.join().state, WorkerState::Ended);
}

#[test]
fn a_silent_worker_is_stuck_and_a_beating_one_is_not() {
    let (watch, clock) = watch();
    let (ask, asked) = sync_channel::<()>(0);
    let (answer, answered) = sync_channel(0);
    let body = move |context: &WorkerContext| {
        while asked.recv().is_ok() {
            context.beat();
            answer.send(()).unwrap();
        }
        Ok(())
    };
    let worker = watch.spawn("an-a", QUICK, StopToken::new(), body).unwrap();
    ask.send(()).unwrap();
    answered.recv().unwrap();
    clock.advance(Duration::from_secs(31));
    assert_eq!(watch.stuck(Duration::from_secs(30))[0].name, "an-a");
    ask.send(()).unwrap();
    answered.recv().unwrap();
    assert!(watch.stuck(Duration::from_secs(30)).is_empty());
    drop(ask);
    worker.join();
    clock.advance(Duration::from_secs(100));
    assert!(watch.stuck(Duration::from_secs(30)).is_empty(), "what ended is not stuck");
}

#[test]
fn a_long_step_that_was_allowed_and_a_wait_for_others_are_not_stuck() {
    let (watch, clock) = watch();
    let pulse = Heartbeat::new("an-a", Arc::new(clock.clone()));
    watch.register(&pulse);
    let limit = Duration::from_secs(30);
    pulse.extend_deadline(Duration::from_secs(300));
    clock.advance(Duration::from_secs(320));
    assert!(watch.stuck(limit).is_empty(), "20 s beyond the allowance");
    clock.advance(Duration::from_secs(11));
    assert_eq!(watch.stuck(limit).len(), 1, "an allowance does not last for ever");
    pulse.suspend();
    clock.advance(Duration::from_secs(1_000_000));
    assert!(watch.stuck(limit).is_empty());
    pulse.beat();
    clock.advance(Duration::from_secs(31));
    assert_eq!(watch.stuck(limit).len(), 1, "after the wait it counts again");
}

#[test]
fn a_task_that_waits_is_alive_one_that_blocks_in_a_poll_is_stuck_and_one_that_is_over_neither() {
    use std::future::{Future, poll_fn};
    use std::task::{Context, Poll, Waker};

    let (watch, clock) = watch();
    let pulse = Heartbeat::new("events", Arc::new(clock.clone()));
    watch.register(&pulse);
    let limit = Duration::from_secs(30);
    let mut polls = 0;
    let (during, hands) = (watch.clone(), clock.clone());
    let mut stuck_within = 0;
    let task = poll_fn(|_| {
        polls += 1;
        if polls == 2 {
            hands.advance(Duration::from_secs(31));
            stuck_within = during.stuck(limit).len();
            return Poll::Ready(());
        }
        Poll::Pending
    });
    {
        let mut task = std::pin::pin!(pulse.wrap(task));
        let mut context = Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(&mut context).is_pending());
        clock.advance(Duration::from_secs(3600));
        assert!(watch.stuck(limit).is_empty(), "it waits");
        assert!(task.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!(stuck_within, 1);
    assert_eq!(watch.list()[0].state, WorkerState::Ended);
}

#[test]
fn a_thread_that_hangs_stays_on_the_list_though_another_takes_its_name() {
    let (watch, time) = watch();
    let (let_go, held) = sync_channel::<()>(0);
    let (ready, is_ready) = sync_channel(1);
    let deaf = watch
        .spawn("an-dock", RestartPolicy::NEVER, StopToken::new(), move |_| {
            held.recv().ok();
            Ok(())
        })
        .unwrap();
    deaf.stop();
    let stop = StopToken::new();
    let next = watch
        .spawn("an-dock", RestartPolicy::NEVER, stop.clone(), move |context| {
            context.suspend();
            ready.send(()).ok();
            context.stop().wait(Duration::from_secs(600));
            Ok(())
        })
        .unwrap();
    is_ready.recv().unwrap();
    watch.remove("an-dock");
    time.advance(Duration::from_secs(60));
    assert_eq!(watch.stuck(Duration::from_secs(30)).len(), 1, "{watch:?}");
    drop(let_go);
    deaf.join();
    stop.request();
    next.join();
    assert!(watch.stuck(Duration::from_secs(30)).is_empty());
    watch.remove("an-dock");
    assert!(watch.list().is_empty());
}
