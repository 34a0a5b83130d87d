-- Adds the four standard events to the table event_outbox, in the transaction of the change that
-- they tell of, whoever makes it: a route, a plugin, a cascade, or somebody with psql.
--
-- Needs PostgreSQL 14 or newer. Run it once Better Auth's tables exist, whichever version made them, as
-- the role that owns "member" and "user" and may create tables and functions in public. Running it again,
-- also from several places at once, does no harm. If your tables or columns have other names, change
-- them here.
--
-- The application's role needs no privilege on event_outbox, unless it adds events of its own:
--   grant insert on public.event_outbox to application;
-- The worker's role, which also needs what pg-boss needs:
--   grant select, update, delete on public.event_outbox to worker;
--
-- It does not see: truncate, triggers that are disabled, session_replication_role = replica.
--
-- PostgreSQL prepares no transaction that notifies: where members or users change in two-phase commits,
-- "prepare transaction" fails, until you have the worker poll instead, every five seconds:
--   alter table public.event_outbox disable trigger event_outbox_notify;
--
-- To remove it, run this as it stands. It is one transaction, waits for those that are under way, holds up
-- others for less than a second at a time, and says how many events are lost with it: events that no worker
-- had moved yet. For none to be lost, stop what changes members and users, and let a worker finish first.
--   do $remove$
--   declare
--     lost bigint;
--   begin
--     -- Gives up before PostgreSQL would look for a deadlock, so that no change becomes its victim.
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
--     drop function public.event_outbox_notify;
--     raise notice 'event_outbox is gone, and % events with it', lost;
--   end;
--   $remove$;

-- One statement, so that all of it is there or nothing.
do $install$
declare
  timeout text := current_setting('lock_timeout');
begin
  -- One installation after the other.
  perform pg_advisory_xact_lock(hashtext('event_outbox'));

  create table if not exists public.event_outbox (
    id bigint generated always as identity primary key,
    event text not null,
    payload jsonb not null,
    created_at timestamptz not null default now()
  );

  -- Wakes the relay at the commit; PostgreSQL sends one notification for all of a transaction's.
  create or replace function public.event_outbox_notify() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
  begin
    perform pg_notify('event_outbox', '');
    return null;
  end;
  $$;

  -- A membership that is given to another user or organization is a removal and an addition.
  create or replace function public.event_outbox_member() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  declare
    stayed boolean := tg_op = 'UPDATE'
      and old."organizationId" = new."organizationId" and old."userId" = new."userId";
  begin
    if stayed and old.role = new.role then
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

  -- Runs at the commit. By then a user with the same id may be there again.
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

  -- Or a role that may create a table of its own could attach them to it, and add false events.
  revoke execute on function public.event_outbox_member, public.event_outbox_user from public;

  -- Only the triggers that are missing, so that running this again locks no table. Both tables at once or
  -- none, and giving up before PostgreSQL would look for a deadlock, so that no change becomes its victim.
  if (
    select count(*) < 2 from pg_trigger
    where tgrelid = 'public."user"'::regclass and tgname = 'event_outbox_user'
      or tgrelid = 'public.member'::regclass and tgname = 'event_outbox_member'
  ) then
    perform set_config('lock_timeout', '200ms', true);
    loop
      begin
        lock table public."user", public.member in share row exclusive mode;
        exit;
      exception when lock_not_available then
        perform pg_sleep(0.2);
      end;
    end loop;
    perform set_config('lock_timeout', timeout, true);
  end if;

  -- Deferred to the commit, for the memberships of a user may be deleted after the user.
  if not exists (
    select from pg_trigger where tgrelid = 'public."user"'::regclass and tgname = 'event_outbox_user'
  ) then
    create constraint trigger event_outbox_user
    after delete on public."user" deferrable initially deferred
    for each row execute function public.event_outbox_user();
  end if;

  if not exists (
    select from pg_trigger where tgrelid = 'public.member'::regclass and tgname = 'event_outbox_member'
  ) then
    create trigger event_outbox_member
    after insert or update or delete on public.member
    for each row execute function public.event_outbox_member();
  end if;

  if not exists (
    select from pg_trigger where tgrelid = 'public.event_outbox'::regclass and tgname = 'event_outbox_notify'
  ) then
    create trigger event_outbox_notify
    after insert on public.event_outbox
    for each statement execute function public.event_outbox_notify();
  end if;
end;
$install$;
