FROM rayproject/ray:2.60.0-py311-gpu
COPY . /emofuse
RUN pip install --constraint /emofuse/.ci/constraints.txt "/emofuse[s3]"
