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
