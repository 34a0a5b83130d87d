-- @kernia/events 1.0.0: copied from its test/examples/outbox/standard-events.sql
-- Needs PostgreSQL 14 or newer, and Better Auth's tables, whichever version created them.
--
-- Adds the four standard events to the table event_outbox, in the transaction of the change, whoever
-- makes it: a route, a plugin, a cascade, or somebody with psql.
--
-- Run it as the role that owns "member" and "user" and may create tables and functions in public. It can
-- be run again, also from several places at once. If your tables or columns have other names, change
-- them here.
--
-- The application's role needs no privilege on event_outbox, unless it publishes events of its own:
--   grant insert on public.event_outbox to application;
-- The worker's role, which also needs what pg-boss needs:
--   grant select, update, delete on public.event_outbox to worker;
--
-- Not covered: truncate, triggers that are disabled, session_replication_role = replica.
--
-- To remove it, run this as it stands. It waits for open transactions, holds up others for less than a
-- second at a time, and says how many events are lost: those that no worker had moved yet. To lose none,
-- stop whatever changes members and users, and let a worker finish first.
--   do $remove$
--   declare
--     lost bigint;
--   begin
--     -- Gives up before PostgreSQL looks for a deadlock, so that no other transaction is aborted.
--     perform set_config('lock_timeout', '200ms', true);
--     loop
--       begin
--         lock table public."user", public.member, public.event_outbox;
--         exit;
--       exception when lock_not_available then
--         perform pg_sleep(0.2);
--       end;
--     end loop;
--     select count(*) into lost from public.event_outbox;
--     drop function public.event_outbox_member, public.event_outbox_user cascade;
--     drop table public.event_outbox;
--     raise notice 'event_outbox was removed, and % events with it', lost;
--   end;
--   $remove$;

-- One statement, so that everything is installed or nothing.
do $install$
declare
  timeout text := current_setting('lock_timeout');
begin
  -- One installation at a time.
  perform pg_advisory_xact_lock(hashtext('event_outbox'));

  create table if not exists public.event_outbox (
    id bigint generated always as identity primary key,
    event text not null,
    payload jsonb not null,
    created_at timestamptz not null default now()
  );

  -- A membership that moves to another user or organization is a removal and an addition.
  create or replace function public.event_outbox_member() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  declare
    stayed boolean := tg_op = 'UPDATE'
      and old."organizationId" = new."organizationId" and old."userId" = new."userId";
  begin
    if stayed and old.role is not distinct from new.role then
      return null;
    end if;
    if tg_op = 'DELETE' or (tg_op = 'UPDATE' and not stayed) then
      insert into public.event_outbox (event, payload)
      values ('organization.member.removed', jsonb_build_object(
        'organizationId', old."organizationId"::text,
        'userId', old."userId"::text,
        'role', old.role,
        'action', 'removed'
      ));
    end if;
    if tg_op <> 'DELETE' then
      insert into public.event_outbox (event, payload)
      values (
        case when stayed then 'organization.member.updated' else 'organization.member.added' end,
        jsonb_build_object(
          'organizationId', new."organizationId"::text,
          'userId', new."userId"::text,
          'role', new.role,
          'action', case when stayed then 'updated' else 'added' end
        )
      );
    end if;
    return null;
  end;
  $$;

  -- Runs at the commit. By then there may be a user with the same id again.
  create or replace function public.event_outbox_user() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  begin
    if exists (select from public."user" where id = old.id) then
      return null;
    end if;
    insert into public.event_outbox (event, payload)
    values ('user.deleted', jsonb_build_object('userId', old.id::text, 'action', 'deleted'));
    return null;
  end;
  $$;

  -- Otherwise a role that may create a table could attach them to it, and add false events.
  revoke execute on function public.event_outbox_member, public.event_outbox_user from public;

  -- Locks tables only if triggers are missing, or one is left of an earlier version, which notified.
  if array['event_outbox_member', 'event_outbox_user'] is distinct from (
    select array_agg(tgname::text order by tgname) from pg_trigger where tgname like 'event\_outbox\_%'
    and tgrelid in ('public."user"'::regclass, 'public.member'::regclass, 'public.event_outbox'::regclass)
  ) then
    -- Gives up before PostgreSQL looks for a deadlock, so that no other transaction is aborted.
    perform set_config('lock_timeout', '200ms', true);
    loop
      begin
        lock table public."user", public.member, public.event_outbox;
        exit;
      exception when lock_not_available then
        perform pg_sleep(0.2);
      end;
    end loop;
    perform set_config('lock_timeout', timeout, true);

    drop trigger if exists event_outbox_notify on public.event_outbox;
    drop trigger if exists event_outbox_user on public."user";
    -- Deferred to the commit, for the memberships of a user may be deleted after the user.
    create constraint trigger event_outbox_user
    after delete on public."user" deferrable initially deferred
    for each row execute function public.event_outbox_user();
    create or replace trigger event_outbox_member
    after insert or update or delete on public.member
    for each row execute function public.event_outbox_member();
  end if;
  drop function if exists public.event_outbox_notify();
end;
$install$;
