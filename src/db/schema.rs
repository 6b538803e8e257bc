//! The tables, once for both databases; `migrations/` makes them.

diesel::table! {
    customers (id) {
        id -> BigInt,
        name -> Nullable<Text>,
        phone -> Nullable<Text>,
        email -> Nullable<Text>,
        notes -> Nullable<Text>,
        import_key -> Nullable<Text>,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    appointments (id) {
        id -> BigInt,
        customer_id -> Nullable<BigInt>,
        service -> Text,
        staff -> Text,
        starts_ms -> BigInt,
        minutes -> Integer,
        buffer_minutes -> Integer,
        status -> Text,
        notes -> Nullable<Text>,
        call_sid -> Nullable<Text>,
        import_key -> Nullable<Text>,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    appointment_slots (staff, slot_start_ms) {
        staff -> Text,
        slot_start_ms -> BigInt,
        appointment_id -> Nullable<BigInt>,
        hold_call -> Nullable<Text>,
        hold_id -> Nullable<Text>,
        expires_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    calls (id) {
        id -> BigInt,
        call_sid -> Text,
        admission -> Text,
        kind -> Text,
        direction -> Text,
        caller_kind -> Text,
        phone_number -> Nullable<Text>,
        business_number -> Text,
        status -> Text,
        end_reason -> Nullable<Text>,
        lead_captured -> Bool,
        appointment_booked -> Bool,
        message_taken -> Bool,
        transferred -> Bool,
        follow_up -> Bool,
        customer_id -> Nullable<BigInt>,
        started_ms -> BigInt,
        answered_ms -> Nullable<BigInt>,
        ended_ms -> Nullable<BigInt>,
        duration_s -> Nullable<BigInt>,
        transcript -> Nullable<Text>,
        summary -> Nullable<Text>,
        summary_state -> Text,
        resume_json -> Nullable<Text>,
        epoch -> BigInt,
        replica -> Nullable<Text>,
        breaks -> BigInt,
        onward -> Nullable<Text>,
    }
}

diesel::table! {
    turns (call_id, n) {
        call_id -> BigInt,
        n -> BigInt,
        speaker -> Text,
        said -> Text,
        heard -> Text,
        interrupted -> Bool,
        at_ms -> BigInt,
        latencies -> Text,
    }
}

diesel::table! {
    call_events (id) {
        id -> BigInt,
        call_sid -> Text,
        at_ms -> BigInt,
        code -> Text,
        detail -> Text,
    }
}

diesel::table! {
    messages (id) {
        id -> BigInt,
        call_sid -> Text,
        name -> Nullable<Text>,
        phone -> Nullable<Text>,
        text -> Text,
        created_ms -> BigInt,
        done_ms -> Nullable<BigInt>,
        done_by -> Nullable<Text>,
        kind -> Text,
        entry_key -> Nullable<Text>,
    }
}

diesel::joinable!(appointments -> customers (customer_id));
diesel::joinable!(calls -> customers (customer_id));
diesel::joinable!(turns -> calls (call_id));
diesel::allow_tables_to_appear_in_same_query!(
    customers,
    appointments,
    appointment_slots,
    calls,
    turns,
    call_events,
    messages,
);

diesel::table! {
    settings (name) {
        name -> Text,
        value -> Text,
        version -> BigInt,
        updated_by -> Text,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    time_off (id) {
        id -> BigInt,
        staff -> Nullable<Text>,
        from_ms -> BigInt,
        to_ms -> BigInt,
        reason -> Nullable<Text>,
        created_ms -> BigInt,
        created_by -> Nullable<Text>,
    }
}

diesel::table! {
    activity (at_ms, shard) {
        at_ms -> BigInt,
        shard -> BigInt,
        inbound -> BigInt,
        outbound -> BigInt,
        ended_completed -> BigInt,
        ended_transferred -> BigInt,
        ended_message_taken -> BigInt,
        ended_apology -> BigInt,
        ended_silence -> BigInt,
        ended_max_duration -> BigInt,
        ended_lost -> BigInt,
        ended_spend_cap -> BigInt,
        ended_ended -> BigInt,
        ended_shutdown -> BigInt,
        ended_never_started -> BigInt,
        ended_failed -> BigInt,
        ended_busy -> BigInt,
        ended_no_answer -> BigInt,
        ended_canceled -> BigInt,
        leads -> BigInt,
        calls_booked -> BigInt,
        messages -> BigInt,
        transfers -> BigInt,
        follow_ups -> BigInt,
        appointments_made -> BigInt,
        appointments_cancelled -> BigInt,
        duration_s -> BigInt,
        barge_ins -> BigInt,
        errors_stt -> BigInt,
        errors_tts -> BigInt,
        errors_llm -> BigInt,
        errors_tools -> BigInt,
    }
}

diesel::table! {
    latencies (at_ms, shard, stage) {
        at_ms -> BigInt,
        shard -> BigInt,
        stage -> Text,
        n -> BigInt,
        sum_ms -> BigInt,
        le_100 -> BigInt,
        le_200 -> BigInt,
        le_300 -> BigInt,
        le_400 -> BigInt,
        le_500 -> BigInt,
        le_600 -> BigInt,
        le_800 -> BigInt,
        le_1000 -> BigInt,
        le_1250 -> BigInt,
        le_1500 -> BigInt,
        le_2000 -> BigInt,
        le_2500 -> BigInt,
        le_3000 -> BigInt,
        le_5000 -> BigInt,
        longer -> BigInt,
    }
}

diesel::table! {
    activity_days (from_ms, to_ms) {
        from_ms -> BigInt,
        to_ms -> BigInt,
        counts -> Text,
    }
}

diesel::table! {
    spend (at_ms, shard) {
        at_ms -> BigInt,
        shard -> BigInt,
        micros -> BigInt,
    }
}

diesel::table! {
    totals (name) {
        name -> Text,
        n -> BigInt,
    }
}

diesel::table! {
    api_keys (id) {
        id -> BigInt,
        name -> Text,
        hash -> Text,
        scope -> Text,
        created_ms -> BigInt,
        last_used_ms -> Nullable<BigInt>,
        revoked_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    users (id) {
        id -> BigInt,
        name -> Text,
        hash -> Text,
        role -> Text,
        generation -> BigInt,
        one_time -> Bool,
        disabled -> Bool,
        created_ms -> BigInt,
        one_time_until_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    login_sessions (hash) {
        hash -> Text,
        user_id -> BigInt,
        generation -> BigInt,
        csrf -> Text,
        created_ms -> BigInt,
        seen_ms -> BigInt,
        expires_ms -> BigInt,
    }
}

diesel::table! {
    staff_actions (id) {
        id -> BigInt,
        at_ms -> BigInt,
        who_kind -> Text,
        who_id -> BigInt,
        who_name -> Text,
        action -> Text,
        target -> Text,
        detail -> Text,
    }
}

diesel::joinable!(login_sessions -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(login_sessions, users);

diesel::table! {
    recordings (id) {
        id -> BigInt,
        call_sid -> Text,
        location -> Text,
        state -> Text,
        bytes -> BigInt,
        ms -> BigInt,
        started_ms -> BigInt,
        offset_ms -> BigInt,
        dropped_frames -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    jobs (id) {
        id -> BigInt,
        kind -> Text,
        key -> Text,
        payload -> Text,
        state -> Text,
        attempts -> BigInt,
        next_run_ms -> BigInt,
        lease_until_ms -> Nullable<BigInt>,
        lease_owner -> Nullable<Text>,
        last_error -> Nullable<Text>,
        created_ms -> BigInt,
        done_ms -> Nullable<BigInt>,
        place -> Nullable<Text>,
    }
}

diesel::table! {
    tolls (id) {
        id -> BigInt,
        at_ms -> BigInt,
        destination -> Nullable<Text>,
    }
}

diesel::table! {
    call_outcomes (call_id) {
        call_id -> BigInt,
        intent -> Nullable<Text>,
        sentiment -> Nullable<Text>,
        outcome -> Text,
        model -> Text,
        created_ms -> BigInt,
    }
}

diesel::table! {
    call_usage (call_id, item, model) {
        call_id -> BigInt,
        item -> Text,
        model -> Text,
        amount -> BigInt,
        micros -> BigInt,
    }
}

diesel::table! {
    spend_days (day) {
        day -> BigInt,
        micros -> BigInt,
    }
}

diesel::table! {
    replicas (id) {
        id -> Text,
        version -> Text,
        calls -> BigInt,
        draining -> Bool,
        heartbeat_ms -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(calls, replicas);
diesel::joinable!(call_outcomes -> calls (call_id));
diesel::joinable!(call_usage -> calls (call_id));
diesel::allow_tables_to_appear_in_same_query!(calls, call_outcomes);
diesel::allow_tables_to_appear_in_same_query!(calls, call_usage);
