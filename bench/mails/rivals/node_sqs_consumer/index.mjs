/*
 * Node: the npm package sqs-consumer with version 3 of the AWS SDK, doing the job as the other rivals do it.
 *
 *     npm ci --prefix bench/mails/rivals/node_sqs_consumer
 *     node bench/mails/rivals/node_sqs_consumer/index.mjs
 *
 * It stands for what a good Node engineer would put together. sqs-consumer receives a batch, waits for all of it,
 * deletes it and receives the next, so one consumer leaves slots idle at the end of each batch: there are as many
 * consumers as fill all slots with one batch ahead. The slots are shared, so that never more than BENCH_CONCURRENCY
 * mails are in work.
 *
 * The mail is split with mailsplit, whose author wrote mailparser and nodemailer as well, and whose purpose is to
 * change a mail on its way: it finds all parts of it, and the head of the whole is written anew. mailparser's
 * simpleParser with nodemailer's MailComposer takes four times the processor time for that, and writes another mail
 * than came in.
 *
 * Version 14 of sqs-consumer is the last that runs on Node 20.
 */

import { once } from "node:events";
import { Transform } from "node:stream";

import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { SESv2Client, SendEmailCommand } from "@aws-sdk/client-sesv2";
import { SQSClient } from "@aws-sdk/client-sqs";
import mailsplit from "@zone-eu/mailsplit";
import libmime from "libmime";
import { Consumer } from "sqs-consumer";

const BATCH = 10;
const DROPPED = new Set(["dkim-signature", "return-path", "received", "sender", "bcc"]);
const DROPPED_PREFIXES = ["x-ses-", "x-relayd-"];

const { AWS_REGION: region, BENCH_QUEUE_URL: queueUrl, BENCH_FROM: sender, BENCH_TO: mailbox } = process.env;
const concurrency = Number(process.env.BENCH_CONCURRENCY);
const consumersCount = Math.ceil(concurrency / BATCH) + 1;

// The SDK's own agent keeps connections too; it is told only that there may be as many as slots.
const requestHandler = { httpAgent: { maxSockets: Math.max(50, concurrency + consumersCount) } };
const s3 = new S3Client({ region, requestHandler, forcePathStyle: true });
const ses = new SESv2Client({ region, requestHandler });
const sqs = new SQSClient({ region, requestHandler, useQueueUrlAsEndpoint: false });

/** At most so many at a time, in the order in which they came. */
class Slots {
  #free;
  #waiting = [];

  constructor(count) {
    this.#free = count;
  }

  async run(work) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}

/** Changes the head of the whole mail and lets everything else pass. */
class Edit extends Transform {
  constructor() {
    super({ objectMode: true });
  }

  _transform(piece, _encoding, done) {
    if (piece.type === "node" && piece.root) edit(piece.headers);
    done(null, piece);
  }
}

function edit(headers) {
  const shown = libmime.decodeWords(headers.getFirst("from")).replace(/["\\]/g, "");
  const unwanted = (key) => DROPPED.has(key) || DROPPED_PREFIXES.some((prefix) => key.startsWith(prefix));
  for (const key of new Set(headers.getList().map((line) => line.key))) {
    if (unwanted(key)) headers.remove(key);
  }
  const name = `${shown} [via relayd]`;
  // eslint-disable-next-line no-control-regex
  const phrase = /^[\x20-\x7e]*$/.test(name) ? `"${name}"` : libmime.encodeWord(name, "Q", 52);
  headers.update("From", `${phrase} <${sender}>`);
  headers.update("Reply-To", sender);
  headers.update("To", mailbox);
}

async function rewrite(data) {
  const splitter = new mailsplit.Splitter();
  const joiner = new mailsplit.Joiner();
  const chunks = [];
  joiner.on("data", (chunk) => chunks.push(chunk));
  const ended = once(joiner, "end");
  splitter.on("error", (error) => joiner.destroy(error));
  splitter.pipe(new Edit()).pipe(joiner);
  splitter.end(data);
  await ended;
  return Buffer.concat(chunks);
}

async function forward(message) {
  const { bucketName, objectKey } = JSON.parse(JSON.parse(message.Body).Message).receipt.action;
  const found = await s3.send(new GetObjectCommand({ Bucket: bucketName, Key: objectKey }));
  const data = Buffer.from(await found.Body.transformToByteArray());
  await ses.send(
    new SendEmailCommand({
      FromEmailAddress: sender,
      Destination: { ToAddresses: [mailbox] },
      Content: { Raw: { Data: await rewrite(data) } },
    }),
  );
}

const slots = new Slots(concurrency);
let stopping = false;
let batches = 0;

/** The messages to be deleted: those whose mails are on their way. */
async function forwardBatch(messages) {
  batches += 1;
  const done = await Promise.all(
    messages.map((message) =>
      slots.run(async () => {
        if (stopping) return null;
        try {
          await forward(message);
          return message;
        } catch (error) {
          console.error("left in the queue", error);
          return null;
        }
      }),
    ),
  );
  return done.filter((message) => message !== null);
}

function leaveWhenDone() {
  if (stopping && batches === 0) process.exit(0);
}

const consumers = Array.from({ length: consumersCount }, () => {
  const consumer = Consumer.create({
    queueUrl,
    sqs,
    batchSize: BATCH,
    waitTimeSeconds: 20,
    handleMessageBatch: forwardBatch,
  });
  consumer.on("error", (error) => console.error("receive or delete", error));
  // Also when the batch went wrong; by then it is deleted.
  consumer.on("response_processed", () => {
    batches -= 1;
    leaveWhenDone();
  });
  return consumer;
});

process.on("SIGTERM", () => {
  // A long poll is not waited for; sqs-consumer's own way to call one off would call off deletes too.
  stopping = true;
  for (const consumer of consumers) consumer.stop();
  leaveWhenDone();
});

console.log("ready");
for (const consumer of consumers) consumer.start();
